"""Results and dead letters on the wire."""

import re
from typing import Final

import msgspec

from patchline.stream.model.errors import Reason, RecordError
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.outcome import Outcome
from patchline.stream.model.result import Result
from patchline.stream.support.json_text import decode_json
from patchline.stream.wire.cloudevents import Headers, Record, attributes_of, encode_attributes, rfc3339

RESULT: Final = "io.patchline.result.v1"
DEAD_LETTER: Final = "io.patchline.deadletter.v1"
ORIGINAL_PREFIX: Final = "frame-"
"""What a dead letter puts before the names of headers that it repeats from its frame."""
MAX_ORIGINAL_HEADERS_BYTES: Final = 64 * 1024

_NUMBER = re.compile(r"[0-9]{1,18}")
_RESULT_ENCODER = msgspec.json.Encoder()


def result_record(result: Result, position: Position | None = None) -> Record:
    """A result as a record: keyed by camera, its value JSON. `position` is that of its frame, if it has one."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": RESULT,
        "ce_id": result.frame_id,
        "ce_source": f"patchline/{result.camera}",
        "ce_time": rfc3339(result.inspected_at),
        "content-type": "application/json",
        **_position_attributes(position),
    }
    return result.camera.encode(), _RESULT_ENCODER.encode(result), encode_attributes(attributes)


def read_result(headers: Headers, value: bytes | None) -> Result:
    """The result in a record.

    Raises:
        RecordError: it is no CloudEvent of type `io.patchline.result.v1`, or its value is no result.
    """
    flaws: list[str] = []
    attributes = attributes_of(headers, flaws)
    if flaws or attributes.get("ce_type") != RESULT:
        raise RecordError(f"the header ce_type is {attributes.get('ce_type')!r}, expected {RESULT!r}")
    try:
        return decode_json(value or b"", Result)
    except msgspec.DecodeError as error:
        raise RecordError(f"the value is no result: {error}") from error


def read_frame_position(headers: Headers) -> Position | None:
    """Where the frame of a result or dead letter came from; None for one that cannot be read again."""
    attributes = attributes_of([header for header in headers if header[0].startswith("ce_frame")], [])
    topic = attributes.get("ce_frametopic")
    partition, offset = attributes.get("ce_framepartition", ""), attributes.get("ce_frameoffset", "")
    if topic is None or not _NUMBER.fullmatch(partition) or not _NUMBER.fullmatch(offset):
        return None
    return Position(topic, int(partition), int(offset), attributes.get("ce_frametopicid"))


def dead_letter_record(outcome: Outcome, max_value_bytes: int) -> Record | None:
    """A frame that was not inspected, with its bytes; None where it has none (a live camera's).

    A value above `max_value_bytes`, one that came by reference, and one of a record that cannot be decoded stay where
    they are: the dead letter is empty and `ce_dataref` says where to find it.
    """
    frame, result = outcome.frame, outcome.result
    if frame.payload is None:
        return None
    where = frame.position
    too_large = len(frame.payload) > max_value_bytes
    is_lost = frame.flaw is not None and frame.flaw_reason is Reason.UNDECODABLE_RECORD
    referenced = frame.reference is not None and not frame.payload
    where_it_is = f"kafka:{where.topic}/{where.partition}/{where.offset}" if where else None
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": DEAD_LETTER,
        "ce_id": frame.frame_id,
        "ce_source": f"patchline/{frame.camera}",
        "ce_time": rfc3339(result.inspected_at),
        "content-type": _printable(frame.content_type) or "application/octet-stream",
        "ce_recipe": frame.recipe,
        "ce_reason": result.reason or Reason.CORRUPT.value,
        "ce_detail": result.detail,
        **_position_attributes(where),
        "ce_framebytes": None if referenced or is_lost else str(len(frame.payload)),
        "ce_sha256": frame.content_sha256 if referenced or is_lost else outcome.payload_sha256,
        "ce_dataref": frame.reference or (where_it_is if too_large or is_lost else None),
    }
    return frame.camera.encode(), b"" if too_large else frame.payload, encode_attributes(attributes) + _originals(frame)


def original_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """The headers a dead-lettered frame came with, to produce it again."""
    return [(name.removeprefix(ORIGINAL_PREFIX), value) for name, value in headers if name.startswith(ORIGINAL_PREFIX)]


def _position_attributes(position: Position | None) -> dict[str, str]:
    if position is None:
        return {}
    found = {
        "ce_frametopic": position.topic,
        "ce_framepartition": str(position.partition),
        "ce_frameoffset": str(position.offset),
    }
    return found if position.topic_id is None else found | {"ce_frametopicid": position.topic_id}


def _originals(frame: Frame) -> list[tuple[str, bytes]]:
    kept: list[tuple[str, bytes]] = []
    left = MAX_ORIGINAL_HEADERS_BYTES
    for name, value in frame.headers:
        left -= len(name.encode("utf-8", "replace")) + len(value)
        if left < 0:
            break
        kept.append((ORIGINAL_PREFIX + name, value))
    return kept


def _printable(text: str | None) -> str | None:
    return text if text and text.isprintable() else None
