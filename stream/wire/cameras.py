"""Changes of cameras' states: as CloudEvents keyed by camera, and as the JSON that Redis has."""

import msgspec

from patchline.stream.model.camera_event import CameraEvent
from patchline.stream.model.errors import RecordError
from patchline.stream.wire.cloudevents import Headers, Record, attributes_of, encode_attributes, rfc3339

CAMERA = "io.patchline.camera.v1"
MAX_CAMERA_EVENT_BYTES = 64 * 1024


def camera_record(event: CameraEvent) -> Record:
    """A change as a record: its `ce_id` is the camera and the time."""
    time = rfc3339(event.time)
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": CAMERA,
        "ce_id": f"{event.camera}/{time}",
        "ce_source": f"patchline/{event.camera}",
        "ce_time": time,
        "content-type": "application/json",
    }
    return event.camera.encode(), encode_camera_event(event), encode_attributes(attributes)


def read_camera_record(headers: Headers, value: bytes | None) -> CameraEvent:
    """The change in a record; raises RecordError."""
    flaws: list[str] = []
    kind = attributes_of(headers, flaws).get("ce_type")
    if kind != CAMERA:
        flaws.append(f"ce_type is {kind!r}, expected {CAMERA!r}")
    if flaws:
        raise RecordError("; ".join(flaws)[:2_000])
    return decode_camera_event(value or b"")


def encode_camera_event(event: CameraEvent) -> bytes:
    """A change as JSON."""
    return msgspec.json.encode(event)


def decode_camera_event(content: bytes) -> CameraEvent:
    """The change in JSON.

    Raises:
        RecordError: it is none.
    """
    if len(content) > MAX_CAMERA_EVENT_BYTES:
        raise RecordError(f"the value has {len(content):,} bytes, expected at most {MAX_CAMERA_EVENT_BYTES:,}")
    try:
        return msgspec.json.decode(content, type=CameraEvent)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RecordError(f"the value is no change of a camera: {error}") from error
