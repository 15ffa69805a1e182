"""Exactly one committed result for each frame, while workers are killed and stopped, and the broker restarts."""

import asyncio
import random
import signal
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.results import read_result
from tests.chaos.crowd import Crowd, until
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS, on_a_broker, small_line
from tests.chaos.tally import Tally
from tests.chaos.worker import STOP_IN_TRANSACTION
from tests.services.kafka import KafkaBroker
from tests.stream.kafka_help import produce, read_topic
from tests.stream.scripted import jpeg

Fault: TypeAlias = Literal["kill", "stop", "restart"]
UNREADABLE_EVERY = 100
_BROKER_SESSION_S = 10
"""About so long the broker is away each time that it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """`kills` of a random worker, `stops` of one amid a transaction, `restarts` of the broker, in drawn order."""

    frames: int
    workers: int
    kills: int
    stops: int
    restarts: int
    session_timeout_s: float = 6.0
    seed: int = 0


SHORT = Sizes(frames=240, workers=2, kills=1, stops=1, restarts=0, session_timeout_s=3.0)
LONG = Sizes(frames=20_000, workers=3, kills=20, stops=10, restarts=5)


def measure(sizes: Sizes) -> list[Measured]:
    """A share of the frames is sent for each fault, which comes while they are judged: workers are always at work."""
    return on_a_broker(partial(_measure, sizes), session_timeout_s=_BROKER_SESSION_S)


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker) -> list[Measured]:
    ids = {f"f{n}": n % UNREADABLE_EVERY == UNREADABLE_EVERY // 2 for n in range(sizes.frames)}
    draw = random.Random(sizes.seed)
    counts: dict[Fault, int] = {"kill": sizes.kills, "stop": sizes.stops, "restart": sizes.restarts}
    faults = [fault for fault, count in counts.items() for _ in range(count)]
    draw.shuffle(faults)
    async with small_line(folder, broker, session_timeout_s=sizes.session_timeout_s) as (config, crowd, tally):
        for _ in range(sizes.workers):
            await crowd.start()
        sent = 0
        for number, fault in enumerate([*faults, None], 1):
            before, sent = sent, number * sizes.frames // (len(faults) + 1)
            if fault == "stop":
                await _results(before, crowd, tally)
                await _two_own(crowd)
                async with asyncio.TaskGroup() as both:  # the worker is told before there is anything to commit
                    both.create_task(_stop(crowd, tally, draw))
                    both.create_task(_send(config, ids, before, sent))
                continue
            await _send(config, ids, before, sent)
            if fault is not None:
                await _results((before + sent) // 2, crowd, tally)
                await (_kill(crowd, draw) if fault == "kill" else _restart(broker, draw))
        await _results(sizes.frames, crowd, tally)
    fenced = sum(1 for worker in crowd.all for event in worker.logged("away, trying again") if _is_fenced(event))
    return await _counted(config, sizes, ids, fenced)


async def _send(config: KafkaConfig, ids: dict[str, bool], start: int, end: int) -> None:
    picture = jpeg(66)
    some = list(ids.items())[start:end]
    frames = [(i, CAMERAS[n % len(CAMERAS)], b"text" if bad else picture) for n, (i, bad) in enumerate(some)]
    await produce(config, frames, partition=True)


async def _results(count: int, crowd: Crowd, tally: Tally) -> None:
    await until(lambda: bool(crowd.running) and len(tally.seen) >= count, f"{count} results")


async def _kill(crowd: Crowd, draw: random.Random) -> None:
    draw.choice(crowd.running).send(signal.SIGKILL)
    await crowd.start()


async def _stop(crowd: Crowd, tally: Tally, draw: random.Random) -> None:
    """Stop a worker amid a transaction until another has committed results of that partition."""
    worker = draw.choice([worker for worker in crowd.running if worker.owns])
    before = len(worker.logged("in transaction"))
    worker.send(STOP_IN_TRANSACTION)
    await until(lambda: len(worker.logged("in transaction")) > before and worker.stopped, "a transaction to stop in")
    camera = CAMERAS[worker.logged("in transaction")[-1]["partition"]]
    committed = tally.results_of(camera)
    await until(lambda: tally.results_of(camera) > committed, f"another worker's results of {camera}")
    worker.send(signal.SIGCONT)


async def _restart(broker: KafkaBroker, draw: random.Random) -> None:
    await asyncio.to_thread(broker.stop if draw.random() < 0.5 else broker.kill)
    await asyncio.to_thread(broker.start_broker)


async def _two_own(crowd: Crowd) -> None:
    """Nothing is sent before: what comes then is committed by several workers, and none has done it all already."""
    await until(lambda: sum(worker.owns for worker in crowd.running) >= 2, "two workers with partitions")


def _is_fenced(event: dict[str, object]) -> bool:
    return "another worker" in str(event.get("error"))


async def _counted(config: KafkaConfig, sizes: Sizes, ids: dict[str, bool], fenced: int) -> list[Measured]:
    records = await read_topic(config, config.results_topic)
    results = [read_result(record.headers, record.value) for record in records]
    found = Counter(result.frame_id for result in results)
    missing, twice = len(ids.keys() - found.keys()), sum(count > 1 for count in found.values())
    strange = len(found.keys() - ids.keys())
    refused = {result.frame_id for result in results if result.reason is not None}
    wrong = sum((frame_id in refused) != unreadable for frame_id, unreadable in ids.items())
    letters = Counter(dict(r.headers)["ce_id"].decode() for r in await read_topic(config, config.dead_letter_topic))
    lost_letters = letters != Counter(frame_id for frame_id, unreadable in ids.items() if unreadable)
    what = (
        f"{sizes.frames:,} frames, {sizes.workers} workers, {sizes.kills} x kill -9, {sizes.stops} x stopped in a "
        f"transaction ({fenced} commits fenced), {sizes.restarts} x broker restarted"
    )
    return [
        Measured(
            name=f"exactly once; {what}",
            measured=f"{len(found):,} frame ids with results, {missing} missing, {twice} twice, {strange} unknown",
            goal="every frame id exactly once",
            met=not (missing or twice or strange) and len(results) == len(ids),
        ),
        Measured(
            name="verdicts and dead letters of the same frames",
            measured=f"{wrong} wrongly inspected or not, dead letters {'WRONG' if lost_letters else 'right'}",
            goal="no valid frame not inspected; each unreadable one in the dead letters once",
            met=not wrong and not lost_letters,
        ),
    ]
