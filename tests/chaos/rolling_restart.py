"""Workers replaced one by one, each by a warm one, under steady input: no frame lost, and no camera silent for long."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic

from aiokafka import AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE, until
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS, on_a_broker, small_line
from tests.chaos.tally import Tally
from tests.services.kafka import KafkaBroker
from tests.stream.scripted import jpeg


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """`workers` are each replaced once; every camera sends `frames_per_s`; silence is to stay below `silence_s`.

    None: it is only measured, for machines that are busy otherwise.
    """

    workers: int
    frames_per_s: float
    silence_s: float | None


SHORT = Sizes(workers=1, frames_per_s=5, silence_s=None)
LONG = Sizes(workers=3, frames_per_s=10, silence_s=2)


def measure(sizes: Sizes) -> list[Measured]:
    """Start the new worker, wait until it is warm and has partitions, drain the old one; so for each."""
    return on_a_broker(partial(_measure, sizes))


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker) -> list[Measured]:
    async with small_line(folder, broker, session_timeout_s=30.0) as (config, crowd, tally):
        line = _SteadyLine(config, sizes.frames_per_s)
        old = await asyncio.gather(*(crowd.start_ready() for _ in range(sizes.workers)))
        sending = asyncio.create_task(line.run())
        await until(lambda: all(tally.results_of(camera) > 5 for camera in CAMERAS), "a line in swing")
        begin = monotonic()
        for worker in old:
            await crowd.start_ready()
            await worker.drain()
        after = {camera: tally.results_of(camera) for camera in CAMERAS}
        await until(lambda: all(tally.results_of(c) > n + 5 for c, n in after.items()), "a line in swing again")
        end = monotonic()
        line.stop()
        await sending
        await until(lambda: bool(crowd.running) and len(tally.seen) >= len(line.sent), "every result")
    lost = len(line.sent - tally.seen.keys())
    twice = sum(count > 1 for count in tally.seen.values())
    return [
        Measured(
            name=f"rolling restart of {sizes.workers} workers, {len(CAMERAS)} x {sizes.frames_per_s:g} frames/s",
            measured=f"{len(line.sent):,} frames, {lost} lost, {twice} with two results",
            goal="none lost, none twice",
            met=not lost and not twice,
        ),
        _silence(tally, begin, end, sizes),
    ]


def _silence(tally: Tally, begin: float, end: float, sizes: Sizes) -> Measured:
    longest_s, camera = max(
        (later - earlier, camera)
        for camera, times in tally.visible_s.items()
        for earlier, later in pairwise(time for time in times if begin <= time <= end)
    )
    return Measured(
        name="longest time without a committed result of a camera meanwhile",
        measured=f"{longest_s:.2f} s ({camera})",
        goal="none here" if sizes.silence_s is None else f"at most {sizes.silence_s:g} s",
        met=sizes.silence_s is None or longest_s <= sizes.silence_s,
    )


class _SteadyLine:
    """Every camera sends a frame each period, whatever else happens."""

    def __init__(self, config: KafkaConfig, frames_per_s: float) -> None:
        self._config, self._period_s = config, 1 / frames_per_s
        self._stopped = asyncio.Event()
        self.sent: set[str] = set()

    def stop(self) -> None:
        self._stopped.set()

    async def run(self) -> None:
        picture, number = jpeg(66), 0
        async with AIOKafkaProducer(bootstrap_servers=self._config.bootstrap_servers) as producer:
            while not self._stopped.is_set():
                for partition, camera in enumerate(CAMERAS):
                    frame_id = f"{camera}/{number}"
                    headers = frame_headers(frame_id=frame_id, camera=camera, time=datetime.now(UTC), recipe=RECIPE)
                    await producer.send(
                        self._config.frames_topic, picture, key=camera.encode(), headers=headers, partition=partition
                    )
                    self.sent.add(frame_id)
                number += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), self._period_s)
