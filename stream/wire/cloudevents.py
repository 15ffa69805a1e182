"""CloudEvents 1.0 in Kafka's binary content mode: attributes in headers, the datum as the record's value.

The headers of each kind of record are listed with examples in `stream/README.md`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Final, TypeAlias

import msgspec

from patchline.stream.model.errors import Reason, RecordError
from patchline.stream.model.feedback import Result
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.outcome import Outcome

FRAME: Final = "io.patchline.frame.v1"
RESULT: Final = "io.patchline.result.v1"
DEAD_LETTER: Final = "io.patchline.deadletter.v1"

Headers: TypeAlias = Sequence[tuple[str, bytes]]
Record: TypeAlias = tuple[bytes, bytes, list[tuple[str, bytes]]]
"""Key, value, headers."""

ORIGINAL_PREFIX: Final = "frame-"
"""Of a dead letter's headers that repeat those of its frame."""
MAX_ORIGINAL_HEADERS_BYTES: Final = 64 * 1024
_MAX_BYTES: Final = {"ce_id": 1024, "ce_source": 256, "ce_recipe": 256, "content-type": 256, "ce_dataref": 4096}
"""Of headers that results and dead letters repeat: those must fit their topics."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_RESULT_ENCODER = msgspec.json.Encoder()
_RESULT_DECODER = msgspec.json.Decoder(Result)


def frame_headers(
    *,
    frame_id: str,
    camera: str,
    time: datetime,
    content_type: str = "image/jpeg",
    recipe: str | None = None,
    sha256: str | None = None,
    reference: str | None = None,
) -> list[tuple[str, bytes]]:
    """The headers of a frame, for whoever produces frames.

    `time` is aware; `sha256` is of the image, in hex; with a `reference`, its URI, the value is empty.
    """
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": FRAME,
        "ce_id": frame_id,
        "ce_source": camera,
        "ce_time": rfc3339(time),
        "content-type": content_type,
        "ce_recipe": recipe,
        "ce_sha256": sha256,
        "ce_dataref": reference,
    }
    return encode_attributes(attributes)


def read_frame(
    *,
    position: Position,
    timestamp_ms: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    default_recipe: str | None = None,
    camera_recipes: Mapping[str, str] | None = None,
    crashes: int | None = None,
) -> Frame:
    """The frame in a record. It always is one: what is wrong with the record becomes the frame's `flaw`.

    A frame without an id is named by its position, one without a camera by the record's key, one without a time by
    the record's timestamp.
    """
    flaws: list[str] = []
    attributes = attributes_of(headers, flaws)
    for name, most in _MAX_BYTES.items():
        if len(attributes.get(name, "").encode()) > most:
            flaws.append(f"the header {name} has more than {most:,} bytes")
            del attributes[name]
    for name in ("ce_id", "ce_source"):
        if not attributes.get(name):
            flaws.append(f"the header {name} is missing")
    for name, expected in (("ce_specversion", "1.0"), ("ce_type", FRAME)):
        found = attributes.get(name)
        if found != expected:
            flaws.append(f"the header {name} is {_short(found)}, expected {expected!r}")
    time = _time_of(timestamp_ms)
    if (text := attributes.get("ce_time")) is not None:
        try:
            time = _parse_time(text)
        except ValueError:
            flaws.append(f"the header ce_time is {_short(text)}, expected RFC 3339 with a time zone")
    sha256 = attributes.get("ce_sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        flaws.append(f"the header ce_sha256 is {_short(sha256)}, expected 64 hexadecimal digits")
        sha256 = None
    reference = attributes.get("ce_dataref")
    if reference is not None and sha256 is None:
        flaws.append("the header ce_sha256 is missing, and the frame comes by reference")
    if reference is not None and value:
        flaws.append(f"the record has a value of {len(value):,} bytes and the header ce_dataref, expected one of them")
    camera = attributes.get("ce_source") or _camera_of(key) or "unknown"
    recipe = attributes.get("ce_recipe") or (camera_recipes or {}).get(camera) or default_recipe
    if recipe is None:
        flaws.append("the header ce_recipe is missing, and there is no default recipe")
    return Frame(
        frame_id=attributes.get("ce_id") or f"{position.topic}/{position.partition}/{position.offset}",
        camera=camera,
        recipe=recipe or "unknown",
        time=time,
        received_s=monotonic(),
        payload=value or b"",
        content_sha256=sha256,
        content_type=attributes.get("content-type"),
        position=position,
        flaw="; ".join(flaws) or None,
        headers=tuple((name, bytes(header or b"")) for name, header in headers),
        reference=reference,
        crashes=crashes,
    )


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
        return _RESULT_DECODER.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"the value is no result: {error}") from error


def read_frame_position(headers: Headers) -> Position | None:
    """Where the frame of a result or dead letter came from; None for one that cannot be read again."""
    attributes = attributes_of([header for header in headers if header[0].startswith("ce_frame")], [])
    topic = attributes.get("ce_frametopic")
    partition, offset = attributes.get("ce_framepartition", ""), attributes.get("ce_frameoffset", "")
    if topic is None or not _NUMBER.fullmatch(partition) or not _NUMBER.fullmatch(offset):
        return None
    return Position(topic, int(partition), int(offset))


def dead_letter_record(outcome: Outcome, max_value_bytes: int) -> Record | None:
    """A frame that was not inspected, with its bytes; None where it has none (a live camera's).

    A value above `max_value_bytes`, or one that came by reference, stays where it is: the dead letter is empty and
    `ce_dataref` says where to find it.
    """
    frame, result = outcome.frame, outcome.result
    if frame.payload is None:
        return None
    where = frame.position
    too_large = len(frame.payload) > max_value_bytes
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
        "ce_framebytes": None if referenced else str(len(frame.payload)),
        "ce_sha256": frame.content_sha256 if referenced else outcome.payload_sha256,
        "ce_dataref": frame.reference or (where_it_is if too_large else None),
    }
    return frame.camera.encode(), b"" if too_large else frame.payload, encode_attributes(attributes) + _originals(frame)


def original_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """The headers a dead-lettered frame came with, to produce it again."""
    return [(name.removeprefix(ORIGINAL_PREFIX), value) for name, value in headers if name.startswith(ORIGINAL_PREFIX)]


def _position_attributes(position: Position | None) -> dict[str, str]:
    if position is None:
        return {}
    return {
        "ce_frametopic": position.topic,
        "ce_framepartition": str(position.partition),
        "ce_frameoffset": str(position.offset),
    }


def _originals(frame: Frame) -> list[tuple[str, bytes]]:
    kept: list[tuple[str, bytes]] = []
    left = MAX_ORIGINAL_HEADERS_BYTES
    for name, value in frame.headers:
        left -= len(name.encode("utf-8", "replace")) + len(value)
        if left < 0:
            break
        kept.append((ORIGINAL_PREFIX + name, value))
    return kept


def attributes_of(headers: Headers, flaws: list[str]) -> dict[str, str]:
    """Headers as text; the first of a name counts."""
    attributes: dict[str, str] = {}
    for name, value in headers:
        if not name.startswith("ce_") and name != "content-type":
            continue
        try:
            text = (value or b"").decode("utf-8")
        except UnicodeDecodeError:
            flaws.append(f"the header {name} is not UTF-8")
            continue
        attributes.setdefault(name, text)
    return attributes


def encode_attributes(attributes: Mapping[str, str | None]) -> list[tuple[str, bytes]]:
    """Attributes as a record's headers; those that are None are left out."""
    return [(name, value.encode("utf-8", "replace")) for name, value in attributes.items() if value is not None]


def rfc3339(time: datetime) -> str:
    """An aware time in UTC, as CloudEvents write it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("no time zone")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("before the year 1 or after 9999") from error


def _time_of(timestamp_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(max(0, timestamp_ms) / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # a producer may send any number
        return datetime.now(UTC)


def _camera_of(key: bytes | None) -> str:
    return (key or b"")[: _MAX_BYTES["ce_source"]].decode("utf-8", "replace")


def _short(text: str | None) -> str:
    return repr(text if text is None else text[:80])


def _printable(text: str | None) -> str | None:
    return text if text and text.isprintable() else None
