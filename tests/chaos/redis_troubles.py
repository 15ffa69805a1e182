"""Redis in every kind of trouble, amid frames and on an idle line: no frame late, no alarm lost, all back at once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TypeAlias

import numpy as np
from aiokafka import AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE, Crowd, small_bank
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS, new_line, settings_of
from tests.chaos.redis_line import RedisLine
from tests.chaos.tally import Tally
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer
from tests.stream.alarm_help import Events
from tests.stream.scripted import jpeg

RULE = AlarmConfig(k=2, n=4, m=2)
BRIGHT = "11001101"
"""Which frames of a camera are bright, and rejected: alarms come and go, and stand at the end."""
_PASSWORD = "the-first-of-them"  # noqa: S105 - of a server that lives for a test
Step: TypeAlias = Callable[[RedisLine], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """So many `frames` of each camera in each trouble; Redis is away for `away_s` at an idle line.

    The p99 in trouble may be `ratio` times the calm one; alarms are back within `back_s`.
    """

    frames: int
    frames_per_s: float
    away_s: float
    ratio: float
    back_s: float


SHORT = Sizes(frames=16, frames_per_s=8, away_s=6, ratio=100, back_s=15)
LONG = Sizes(frames=200, frames_per_s=8, away_s=600, ratio=1.25, back_s=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """How it begins, and what ends it. `idle`: the line stands still meanwhile."""

    name: str
    begin: Step
    end: Step
    idle: bool = False


def measure(sizes: Sizes) -> list[Measured]:
    """One worker; each trouble after the one before is over."""
    options = ["--requirepass", _PASSWORD]
    with (
        TemporaryDirectory(prefix="patchline-chaos-") as folder,
        KafkaBroker() as broker,
        RedisServer(options=options) as server,
    ):
        broker.start_broker()
        server.start_redis()
        return asyncio.run(_measure(sizes, Path(folder), broker, server))


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker, server: RedisServer) -> list[Measured]:
    config = await new_line(broker)
    line = RedisLine(server, _PASSWORD, folder / "password", config, RULE)
    line.write_password()
    settings = settings_of(config, small_bank(folder), session_timeout_s=10.0) | {
        "redis": {"url": server.url, "password_file": str(line.password_file)},
        "alarms": {"rejects": RULE.k, "window": RULE.n, "passes": RULE.m},
    }
    found: list[Measured] = []
    with Crowd(folder, settings) as crowd:
        await crowd.start_ready()
        async with Tally(config) as tally:
            sender = _Sender(config, tally, sizes)
            calm = await sender.send()
            for trouble in _troubles(sizes):
                await trouble.begin(line)
                meanwhile = [] if trouble.idle else await sender.send()
                wanted = await line.wanted()
                await trouble.end(line)
                taken_s, told = await line.back_within_s(wanted)
                found.append(_told(trouble.name, taken_s, wanted, told, sizes))
                if meanwhile:
                    found.append(_in_time(trouble.name, calm, meanwhile, sizes))
                    calm = await sender.send()
                    await line.back_within_s(await line.wanted())
        for worker in crowd.running:
            await worker.drain()
    return found


def _troubles(sizes: Sizes) -> Sequence[Trouble]:
    async def away(line: RedisLine) -> None:
        await asyncio.to_thread(line.server.stop)
        await asyncio.sleep(sizes.away_s)

    async def back(line: RedisLine) -> None:
        await asyncio.to_thread(line.server.start_redis)  # with the password of its command line, and empty
        line.password = _PASSWORD
        line.write_password()

    async def changed(line: RedisLine) -> None:
        await line.new_password("the-second-of-them")

    async def written(line: RedisLine) -> None:
        line.write_password()

    async def read_only(line: RedisLine) -> None:
        await line.tell("REPLICAOF", "127.0.0.1", "1")

    async def master(line: RedisLine) -> None:
        await line.tell("REPLICAOF", "NO", "ONE")

    async def full(line: RedisLine) -> None:
        await line.tell("CONFIG", "SET", "maxmemory", "1")

    async def room(line: RedisLine) -> None:
        await line.tell("CONFIG", "SET", "maxmemory", "0")

    async def emptied(line: RedisLine) -> None:
        await line.tell("FLUSHALL")

    async def nothing(_: RedisLine) -> None:
        pass

    return (
        Trouble(name="password changed", begin=changed, end=written),
        Trouble(name="read-only", begin=read_only, end=master),
        Trouble(name="full", begin=full, end=room),
        Trouble(name="keys of others", begin=_foreign, end=nothing),
        Trouble(name="emptied at an idle line", begin=nothing, end=emptied, idle=True),
        Trouble(name=f"away for {sizes.away_s:g} s at an idle line, back empty", begin=away, end=back, idle=True),
    )


async def _foreign(line: RedisLine) -> None:
    """None of them is a key of a camera of this line."""
    prefix = "patchline:"
    await line.tell("SET", f"{prefix}alarm:stranger", b"\xff\xfe")
    await line.tell("HSET", f"{prefix}alarm:other", b"\xff", b"\xfe")
    await line.tell("SADD", f"{prefix}alarm-cameras", "stranger", "other", b"caf\xe9")
    await line.tell("HSET", f"{prefix}alarm-positions", "somebody/0", "ten", b"\xff", b"\xfe")
    await line.tell("XADD", f"{prefix}alarms:ack", "*", b"\xff", b"\xfe")
    await line.tell("XADD", f"{prefix}alarms:ack", "*", "camera", "stranger", "operator", "ada" * 2**18)


def _told(name: str, taken_s: float, wanted: Events, told: Events, sizes: Sizes) -> Measured:
    def counted(events: Events) -> Counter[tuple[str, tuple[str, str | None]]]:
        return Counter((camera, event) for camera, those in events.items() for event in those)

    lost, extra = counted(wanted) - counted(told), counted(told) - counted(wanted)
    return Measured(
        name=f"Redis {name}: alarms",
        measured=f"{counted(wanted).total():,} events, {lost.total()} lost, {extra.total()} twice, all there"
        f" {taken_s:.1f} s after it",
        goal=f"none, none, within {sizes.back_s:g} s",
        met=bool(wanted) and told == wanted and taken_s <= sizes.back_s,
    )


def _in_time(name: str, calm_s: Sequence[float], meanwhile_s: Sequence[float], sizes: Sizes) -> Measured:
    before, after = (float(np.quantile(those, 0.99)) for those in (calm_s, meanwhile_s))
    return Measured(
        name=f"Redis {name}: p99 of {len(meanwhile_s):,} frames over that of as many before",
        measured=f"{after / before:.2f} ({after * 1000:.0f} ms over {before * 1000:.0f} ms)",
        goal=f"at most {sizes.ratio:g}",
        met=after <= sizes.ratio * before,
    )


class _Sender:
    """Every camera sends bright and dark frames in its turn."""

    def __init__(self, config: KafkaConfig, tally: Tally, sizes: Sizes) -> None:
        self._config, self._tally, self._sizes = config, tally, sizes
        self._numbers = 0

    async def send(self) -> list[float]:
        """One span of frames; how long each took until its committed result was read, in seconds."""
        sent_s: dict[str, float] = {}
        bright, dark, begin = jpeg(200), jpeg(66), monotonic()
        async with AIOKafkaProducer(bootstrap_servers=self._config.bootstrap_servers) as producer:
            for turn in range(self._sizes.frames):
                await asyncio.sleep(max(0.0, begin + turn / self._sizes.frames_per_s - monotonic()))
                for partition, camera in enumerate(CAMERAS):
                    picture = bright if BRIGHT[(self._numbers + partition) % len(BRIGHT)] == "1" else dark
                    frame_id = f"{camera}/{self._numbers}"
                    headers = frame_headers(frame_id=frame_id, camera=camera, time=datetime.now(UTC), recipe=RECIPE)
                    sent_s[frame_id] = monotonic()
                    await producer.send(
                        self._config.frames_topic, picture, key=camera.encode(), headers=headers, partition=partition
                    )
                self._numbers += 1
        async with asyncio.timeout(120):
            while not sent_s.keys() <= self._tally.first_s.keys():
                await asyncio.sleep(0.05)
        return [self._tally.first_s[frame_id] - begun for frame_id, begun in sent_s.items()]
