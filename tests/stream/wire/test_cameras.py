"""Changes of cameras as records, and what is no such record."""

from datetime import UTC, datetime

import msgspec
import pytest

from patchline.stream.model.camera_event import CameraEvent
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import RecordError
from patchline.stream.wire.cameras import MAX_CAMERA_EVENT_BYTES, camera_record, decode_camera_event, read_camera_record

EVENT = CameraEvent(
    camera="line-3",
    state=CameraState.DARK,
    before=CameraState.OK,
    time=datetime(2026, 3, 2, 8, 15, 30, 250_000, tzinfo=UTC),
    alarm=True,
    detail="the whole picture has 40% of its usual light",
)


def test_a_change_is_a_cloudevent_keyed_by_camera() -> None:
    """It is read back as it was, and its id is its own."""
    key, value, headers = camera_record(EVENT)
    assert key == b"line-3"
    assert dict(headers)["ce_id"] == b"line-3/2026-03-02T08:15:30.250000Z"
    assert read_camera_record(headers, value) == EVENT


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"\xff",
        msgspec.json.encode(EVENT).replace(b"dark", b"gloomy"),
        msgspec.json.encode(EVENT).replace(b'"alarm":true,', b""),
        msgspec.json.encode(EVENT).replace(b'Z"', b'"'),
        b" " * (MAX_CAMERA_EVENT_BYTES + 1),
        b"[" * 50_000,
    ],
)
def test_what_is_no_change_is_refused(value: bytes) -> None:
    """Whatever is in the value."""
    with pytest.raises(RecordError):
        decode_camera_event(value)


def test_another_type_is_refused() -> None:
    """A result on the topic of cameras is passed over."""
    _, value, headers = camera_record(EVENT)
    with pytest.raises(RecordError, match=r"expected 'io\.patchline\.camera\.v1'"):
        read_camera_record([(name, b"other" if name == "ce_type" else text) for name, text in headers], value)
