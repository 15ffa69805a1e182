"""The engine's thread or the consumer hangs: /healthz says so in time, and says it for nothing else."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE, Crowd, Worker, small_bank
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS, new_line, settings_of
from tests.chaos.scrape import status
from tests.chaos.tally import Tally
from tests.chaos.worker import HANG_CONSUMER, HANG_ENGINE
from tests.services.kafka import KafkaBroker
from tests.stream.scripted import jpeg

SECTION, KEY = "limits", "watchdog_s"
"""The setting of the bound."""
_WAITING = 300
_ASK_EVERY_S = 0.25
_SLACK_S = 1.0
"""Beyond the bound: until the page is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Within `bound_s`, a hang is told. At full load for `load_s`, with a bound of a sixth of the setting's default."""

    bound_s: float
    load_s: float
    sixth_s: float
    away_s: float


SHORT = Sizes(bound_s=8, load_s=10, sixth_s=5, away_s=10)
LONG = Sizes(bound_s=60, load_s=600, sixth_s=10, away_s=60)


def measure(sizes: Sizes) -> list[Measured]:
    """A worker for each: two that hang, one at full load, whose broker then goes away."""
    with TemporaryDirectory(prefix="patchline-chaos-") as folder, KafkaBroker() as broker:
        broker.start_broker()
        return asyncio.run(_measure(sizes, Path(folder), broker))


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker) -> list[Measured]:
    config, bank = await new_line(broker), await asyncio.to_thread(small_bank, folder)
    settings = settings_of(config, bank, session_timeout_s=10.0)
    found = []
    for what, number in (("the engine's thread", HANG_ENGINE), ("the consumer", HANG_CONSUMER)):
        found.append(await _hung(what, number, sizes.bound_s, folder / what.split()[-1], config, settings))
    found.append(await _loaded(sizes, folder / "loaded", config, settings, broker))
    return found


def _bounded(settings: Mapping[str, Any], bound_s: float) -> dict[str, Any]:
    return {**settings, SECTION: {**settings.get(SECTION, {}), KEY: bound_s}}


async def _hung(
    what: str, number: int, bound_s: float, folder: Path, config: KafkaConfig, settings: Mapping[str, Any]
) -> Measured:
    with Crowd(folder, _bounded(settings, bound_s)) as crowd:
        worker = await crowd.start_ready()
        async with Tally(config) as tally, _full_load(config, tally):
            async with asyncio.timeout(60):
                while not tally.seen:
                    await asyncio.sleep(0.1)
            before, _ = await status(worker, "/healthz")
            worker.send(number)
            begin, code, text = monotonic(), before, ""
            while code == 200 and monotonic() < begin + 2 * bound_s + 10:
                await asyncio.sleep(_ASK_EVERY_S)
                code, text = await status(worker, "/healthz")
            taken_s = monotonic() - begin
    return Measured(
        name=f"/healthz after {what} hangs",
        measured=f"{before} before, then {code} {text.strip()[:120]!r} after {taken_s:.1f} s",
        goal=f"bad within {bound_s:g} s",
        met=before == 200 and code >= 500 and taken_s <= bound_s + _SLACK_S,
    )


async def _loaded(
    sizes: Sizes, folder: Path, config: KafkaConfig, settings: Mapping[str, Any], broker: KafkaBroker
) -> Measured:
    bad: list[str] = []
    with Crowd(folder, _bounded(settings, sizes.sixth_s)) as crowd:
        worker = await crowd.start_ready()
        async with Tally(config) as tally:
            async with _full_load(config, tally):
                asked = await _watch(worker, sizes.load_s, "at full load", bad)
            judged = tally.seen.total()
        asked += await _watch(worker, sizes.away_s, "with nothing to do", bad)
        await asyncio.to_thread(broker.stop)
        asked += await _watch(worker, sizes.away_s, "without a broker", bad)
        await asyncio.to_thread(broker.start_broker)
        await worker.drain()
    return Measured(
        name=f"/healthz with a bound of {sizes.sixth_s:g} s: {sizes.load_s:g} s at full load ({judged:,} frames),"
        f" {sizes.away_s:g} s idle, {sizes.away_s:g} s without a broker",
        measured=f"asked {asked:,} times, bad {len(bad)} times{': ' + bad[0] if bad else ''}",
        goal="never bad",
        met=not bad and asked > 0,
    )


async def _watch(worker: Worker, seconds: float, when: str, bad: list[str]) -> int:
    end, asked = monotonic() + seconds, 0
    while monotonic() < end and worker.running:
        code, text = await status(worker, "/healthz", timeout_s=10)
        asked += 1
        if code != 200:
            bad.append(f"{when} {code} {text.strip()[:120]!r}")
        await asyncio.sleep(_ASK_EVERY_S)
    return asked


@asynccontextmanager
async def _full_load(config: KafkaConfig, tally: Tally) -> AsyncIterator[None]:
    """So many frames wait at all times meanwhile."""
    sending = asyncio.create_task(_send(config, tally))
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(config: KafkaConfig, tally: Tally) -> None:
    before, sent, picture = tally.seen.total(), 0, jpeg(66)
    async with AIOKafkaProducer(bootstrap_servers=config.bootstrap_servers) as producer:
        while True:
            for _ in range(max(0, _WAITING - (sent - (tally.seen.total() - before)))):
                partition = sent % len(CAMERAS)
                headers = frame_headers(
                    frame_id=f"{monotonic()}", camera=CAMERAS[partition], time=datetime.now(UTC), recipe=RECIPE
                )
                await producer.send(config.frames_topic, picture, headers=headers, partition=partition)
                sent += 1
            await asyncio.sleep(0.05)
