"""A frame on its way through the stream, and its position in a source that can be replayed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Self, TypeAlias

from patchline.engine.types import Image
from patchline.stream.model.errors import Reason


@dataclass(frozen=True, slots=True)
class Position:
    """Where a frame came from, in a source that can be replayed: a Kafka topic, partition and offset."""

    topic: str
    partition: int
    offset: int
    topic_id: str | None = None
    """Which topic of that name, as Kafka's tools print it: one that is made anew has another, and counts from 0 again.
    None: the brokers tell no ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame as read from a source: encoded bytes (Kafka, folder) or pixels already decoded (RTSP, video).

    `payload` is the encoded image; `image` is RGB uint8 (H, W, 3); exactly one of them is set. `received_s` is the
    monotonic clock when the frame was read, in seconds. `content_sha256` is what the producer claims of `payload`.
    `flaw` is set where the record itself is unusable (no camera, cannot be decoded): such a frame is not inspected, for
    `flaw_reason`. Of a record that cannot be decoded there are no bytes: `payload` is empty.
    """

    frame_id: str
    camera: str
    recipe: str
    time: datetime
    received_s: float
    payload: bytes | None = field(default=None, repr=False)
    image: Image | None = field(default=None, repr=False)
    content_sha256: str | None = None
    content_type: str | None = None
    position: Position | None = None
    flaw: str | None = None
    flaw_reason: Reason = Reason.MALFORMED_RECORD
    headers: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """The record's headers as they came; a dead letter repeats them."""
    reference: str | None = None
    """The URI of the encoded image, where it is not in the record; `payload` is empty then."""
    crashes: int | None = None
    """None: an ordinary frame. Else it may have been in flight when a worker crashed, so it is tried alone; and it was
    alone in flight at so many crashes."""

    @classmethod
    def of_bytes(cls, frame_id: str, recipe: str, payload: bytes) -> Self:
        """A frame of an encoded image alone, of no camera."""
        now = datetime.now(UTC)
        return cls(frame_id=frame_id, camera="", recipe=recipe, time=now, received_s=monotonic(), payload=payload)


LaneKey: TypeAlias = tuple[str, int]
"""(topic, partition), or (camera, -1) for frames without a position."""


def lane_of(frame: Frame) -> LaneKey:
    """The lane whose order a frame keeps."""
    position = frame.position
    return (position.topic, position.partition) if position is not None else (frame.camera, -1)


POISON_CRASHES = 2
"""A frame that was alone in flight at so many crashes is not tried again."""
