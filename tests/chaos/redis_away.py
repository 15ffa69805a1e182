"""Redis stopped for a while, then killed amid writes: every alarm once and in order, and frames undisturbed."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np
from aiokafka import AIOKafkaProducer

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE, Crowd, small_bank, until
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS, new_line, settings_of
from tests.chaos.tally import Tally
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer
from tests.stream.alarm_help import Events, expected, found
from tests.stream.scripted import jpeg

RULE = AlarmConfig(k=2, n=4, m=2)
BRIGHT = "110100"
"""Which frames of a camera are bright, and rejected, again and again: its alarm comes, goes and comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Redis is there for `normal_s`, away for `away_s`, and then killed `kills` times amid writes.

    The p99 of the frames while it is away may be `ratio` times the normal one.
    """

    workers: int
    frames_per_s: float
    normal_s: float
    away_s: float
    kills: int
    ratio: float


SHORT = Sizes(workers=2, frames_per_s=5, normal_s=4, away_s=6, kills=3, ratio=100)
"""Nobody waits for Redis; what is beyond that is the tests' machine."""
LONG = Sizes(workers=2, frames_per_s=10, normal_s=60, away_s=60, kills=20, ratio=1.1)


def measure(sizes: Sizes) -> list[Measured]:
    """A steady line of cameras whose alarms come and go, and a Redis that keeps an append-only file."""
    with (
        TemporaryDirectory(prefix="patchline-chaos-") as folder,
        KafkaBroker() as broker,
        RedisServer(durable=True) as server,
    ):
        broker.start_broker()
        server.start_redis()
        return asyncio.run(_measure(sizes, Path(folder), broker, server))


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker, server: RedisServer) -> list[Measured]:
    config, where = await new_line(broker), RedisConfig(url=server.url)
    settings = settings_of(config, small_bank(folder), session_timeout_s=10.0) | {
        "redis": {"url": server.url},
        "alarms": {"rejects": RULE.k, "window": RULE.n, "passes": RULE.m},
    }
    line = _SwingingLine(config, sizes.frames_per_s)
    with Crowd(folder, settings) as crowd:
        async with Tally(config) as tally:
            await asyncio.gather(*(crowd.start_ready() for _ in range(sizes.workers)))
            sending = asyncio.create_task(line.run())
            await until(lambda: all(tally.results_of(camera) > 20 for camera in CAMERAS), "a line in swing")
            await _alarms(where, more_than=0)
            spans = [monotonic()]
            await asyncio.sleep(sizes.normal_s)
            spans.append(monotonic())
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(sizes.away_s)
            spans.append(monotonic())
            server.start_redis()
            for _ in range(sizes.kills):
                # Alarms are being written, those of the time before among them.
                await _alarms(where, more_than=await _alarms(where, more_than=0))
                server.kill()
                server.start_redis()
            line.stop()
            await sending
            sent = sum(map(len, line.sent_s.values()))
            await until(lambda: bool(crowd.running) and tally.seen.total() >= sent, "every result")
        wanted = await expected(config, RULE)
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while await found(where) != wanted:
                    await asyncio.sleep(0.2)
        for worker in crowd.running:
            await worker.drain()
    away = f"Redis stopped for {sizes.away_s:g} s and killed {sizes.kills} times amid writes"
    return [_told_once(away, wanted, await found(where)), _latency(line.sent_s, tally.visible_s, spans, sizes)]


async def _alarms(where: RedisConfig, *, more_than: int) -> int:
    """How many alarm events there are, once there are more than so many."""
    async with asyncio.timeout(240):
        while (count := sum(map(len, (await found(where)).values()))) <= more_than:
            await asyncio.sleep(0.02)
    return count


def _told_once(name: str, wanted: Events, told: Events) -> Measured:
    def counted(events: Events) -> Counter[tuple[str, tuple[str, str | None]]]:
        return Counter((camera, event) for camera, those in events.items() for event in those)

    lost, extra = counted(wanted) - counted(told), counted(told) - counted(wanted)
    ordered = all(list(told.get(camera, [])) == list(events) for camera, events in wanted.items())
    return Measured(
        name=name,
        measured=f"{counted(wanted).total():,} alarm events, {lost.total()} lost, {extra.total()} twice,"
        f" order {'kept' if ordered else 'not kept'}",
        goal="none lost, none twice, order kept",
        met=bool(wanted) and not lost and not extra and ordered,
    )


def _latency(
    sent_s: Mapping[str, Sequence[float]],
    visible_s: Mapping[str, Sequence[float]],
    spans: Sequence[float],
    sizes: Sizes,
) -> Measured:
    """From sending a frame until its committed result is read, by the camera's order: each frame has one result."""
    normal_s, away_s = (
        [
            seen - sent
            for camera, times in sent_s.items()
            for sent, seen in zip(times, visible_s[camera], strict=True)
            if begin <= sent < end
        ]
        for begin, end in pairwise(spans)
    )
    before_ms, while_ms = (float(np.quantile(those, 0.99)) * 1000 for those in (normal_s, away_s))
    return Measured(
        name=f"p99 of {len(away_s):,} frames while Redis is away over that of {len(normal_s):,} before"
        f" ({len(CAMERAS)} x {sizes.frames_per_s:g} frames/s)",
        measured=f"{while_ms / before_ms:.2f} ({while_ms:.0f} ms over {before_ms:.0f} ms)",
        goal=f"at most {sizes.ratio:g}",
        met=while_ms <= sizes.ratio * before_ms,
    )


class _SwingingLine:
    """Every camera sends a frame each period, bright or dark by its turn; `sent_s` is the monotonic clock of each."""

    def __init__(self, config: KafkaConfig, frames_per_s: float) -> None:
        self._config, self._period_s = config, 1 / frames_per_s
        self._stopped = asyncio.Event()
        self.sent_s: dict[str, list[float]] = {camera: [] for camera in CAMERAS}

    def stop(self) -> None:
        self._stopped.set()

    async def run(self) -> None:
        bright, dark, number = jpeg(200), jpeg(66), 0
        async with AIOKafkaProducer(bootstrap_servers=self._config.bootstrap_servers) as producer:
            while not self._stopped.is_set():
                for partition, camera in enumerate(CAMERAS):
                    picture = bright if BRIGHT[(number + partition) % len(BRIGHT)] == "1" else dark
                    headers = frame_headers(
                        frame_id=f"{camera}/{number}", camera=camera, time=datetime.now(UTC), recipe=RECIPE
                    )
                    self.sent_s[camera].append(monotonic())
                    await producer.send(
                        self._config.frames_topic, picture, key=camera.encode(), headers=headers, partition=partition
                    )
                number += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), self._period_s)
