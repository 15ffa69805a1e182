"""Log and remembered offset part ways, running and stopped: what is in the log has one result, what is lost is told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from tests.chaos.crowd import small_bank
from tests.chaos.figure import Measured
from tests.chaos.parted import ForgetfulBroker, Parted, Start
from tests.chaos.partings import ALONE, BREAKS, PARTINGS

Scene: TypeAlias = tuple[str, bool, Start]
"""The way, whether the worker runs meanwhile, and where a group without offsets begins."""
_AT_ONCE = 2
_BROKER_SESSION_S = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """These scenes."""

    scenes: Sequence[Scene]


SHORT = Sizes(
    scenes=(
        ("made anew, longer", False, "earliest"),
        ("records deleted", False, "latest"),
        ("partitions added", True, "latest"),
    )
)
LONG = Sizes(scenes=tuple(product(PARTINGS, (True, False), ("earliest", "latest"))))


def measure(sizes: Sizes) -> list[Measured]:
    """Each scene has topics, a group and a worker of its own."""
    with (
        TemporaryDirectory(prefix="patchline-chaos-") as folder,
        ForgetfulBroker(session_timeout_s=_BROKER_SESSION_S) as broker,
    ):
        broker.start_broker()
        return asyncio.run(_measure(sizes, Path(folder), broker))


async def _measure(sizes: Sizes, folder: Path, broker: ForgetfulBroker) -> list[Measured]:
    bank = await asyncio.to_thread(small_bank, folder)
    turns, found = asyncio.Semaphore(_AT_ONCE), dict[Scene, Measured]()

    async def one(scene: Scene) -> None:
        async with turns:
            found[scene] = await _scene(scene, folder, broker, bank)

    async with asyncio.TaskGroup() as group:
        for scene in sizes.scenes:
            if scene[0] not in ALONE:
                group.create_task(one(scene))
    for scene in sizes.scenes:
        if scene[0] in ALONE:
            await one(scene)
    return [found[scene] for scene in sizes.scenes]


async def _scene(scene: Scene, folder: Path, broker: ForgetfulBroker, bank: Path) -> Measured:
    way, running, start = scene
    name = f"{way}, {'running' if running else 'stopped'}, {start}"
    try:
        async with Parted.line(folder, broker, bank, running=running, start=start) as line:
            await PARTINGS[way](line)
            await line.judged()
            await asyncio.sleep(1)  # what comes twice comes then
            return await _told(name, line, BREAKS[way])
    except (AssertionError, TimeoutError) as error:
        return Measured(name=name, measured=f"failed: {error}"[:600], goal="to come about", met=False)


async def _told(name: str, line: Parted, causes: Sequence[str]) -> Measured:
    lost, breaks = await line.counted()
    missing = [frame_id for frame_id in sorted(line.kept) if frame_id not in line.tally.seen]
    twice = [f for f in sorted(line.kept - line.again) if line.tally.seen[f] > 1]
    gone = sum(frame_id not in line.tally.seen for frame_id in line.gone)
    counted = round(sum(lost.values()))
    told = not causes or any(breaks.get(cause, 0) for cause in causes) or (line.exact and counted > 0)
    exact = not line.exact or counted == gone
    return Measured(
        name=name,
        measured=f"{len(line.kept)} frames in the log, {len(missing)} without a result, {len(twice)} with two;"
        f" {gone} lost, {counted} counted ({_words(lost)}), breaks {_words(breaks)}"
        + "".join(f"; {what}" for what in line.said),
        goal="one each, the lost ones counted, "
        + (f"a break by {' or '.join(causes)}" if causes else "and no more than that"),
        met=not (missing or twice or line.said) and told and exact,
    )


def _words(counts: dict[str, float]) -> str:
    return ", ".join(f"{cause} {count:.0f}" for cause, count in sorted(counts.items())) or "none"
