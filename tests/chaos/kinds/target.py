"""What a hostile kind may speak to, and what it leaves there."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from aiokafka import AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE
from tests.chaos.damaged_log import DamagedLog
from tests.chaos.mutants import Headers
from tests.chaos.raw_records import RawProducer
from tests.chaos.sender import Place
from tests.stream.scripted import jpeg

GOOD_IMAGE = jpeg(66)


@dataclass(slots=True, kw_only=True)
class Target:
    """A running line. `places` are the partitions and offsets that must have one result each, of hostile frames."""

    config: KafkaConfig
    partitions: int
    producer: AIOKafkaProducer
    raw: RawProducer
    damaged: DamagedLog
    redis: Any
    prefix: str
    port: int
    folder: Path
    """Frames by reference may lie below it."""
    places: list[Place] = field(default_factory=list)
    kinds: dict[Place, str] = field(default_factory=dict)
    """What was sent there."""
    sent_s: list[tuple[float, str]] = field(default_factory=list)
    """The monotonic clock when each kind was sent."""
    numbers: "count[int]" = field(default_factory=count)

    def next_partition(self) -> int:
        """Partitions in turn."""
        return next(self.numbers) % self.partitions

    async def frame(
        self,
        *,
        value: bytes | None = GOOD_IMAGE,
        headers: Headers | None = None,
        key: bytes | None = b"odd",
        timestamp_ms: int | None = None,
    ) -> None:
        """Send one frame, by default a whole one of a camera of its own."""
        partition = self.next_partition()
        sent = await self.producer.send_and_wait(
            self.config.frames_topic,
            value,
            key=key,
            headers=headers_of_odd() if headers is None else headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
        )
        self.places.append((sent.partition, sent.offset))


Send: TypeAlias = Callable[[Target], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of hostile input: `send` sends it once."""

    family: str
    name: str
    send: Send


_ODD = count()


def headers_of_odd(camera: str = "odd") -> Headers:
    """Headers of a whole frame, whose id nobody else has."""
    return frame_headers(frame_id=f"odd/{next(_ODD)}", camera=camera, time=datetime.now(UTC), recipe=RECIPE)


def with_header(name: str, value: bytes | None) -> Headers:
    """The same with one of them another, or missing."""
    headers = [pair for pair in headers_of_odd() if pair[0] != name]
    return headers if value is None else [*headers, (name, value)]
