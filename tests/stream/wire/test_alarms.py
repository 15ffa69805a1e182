import json
from datetime import UTC, datetime

import pytest

from patchline.stream.model.alarm import Alarm, AlarmChange, AlarmEvent, AlarmState
from patchline.stream.model.errors import RecordError, SinkError
from patchline.stream.wire.alarms import StoredAlarm, decode_event, encode_event, from_fields, to_fields

NOW = datetime(2026, 3, 2, 8, 15, 30, 250_000, UTC)
RAISED = Alarm(
    camera="cam",
    state=AlarmState.ACKNOWLEDGED,
    alarm_id="f",
    raised_at=NOW,
    acknowledged_by="ada",
    acknowledged_at=NOW,
    window="RPR",
    passes=2,
)


def test_an_alarm_comes_back_from_its_hash() -> None:
    """Every field is text under its name, and those that are None are left out."""
    stored = StoredAlarm(RAISED, 7, "last")
    fields = to_fields(stored)
    assert fields == {
        "camera": "cam",
        "state": "acknowledged",
        "alarm_id": "f",
        "raised_at": "2026-03-02T08:15:30.250000+00:00",
        "acknowledged_by": "ada",
        "acknowledged_at": "2026-03-02T08:15:30.250000+00:00",
        "window": "RPR",
        "passes": "2",
        "last": "last",
        "version": "7",
    }
    assert from_fields("cam", fields) == stored
    quiet = StoredAlarm(Alarm(camera="cam"))
    assert set(to_fields(quiet)) == {"camera", "state", "window", "passes", "last", "version"}
    assert from_fields("cam", to_fields(quiet)) == quiet


@pytest.mark.parametrize("missing", ["state", "window", "passes", "version"])
def test_a_hash_that_lacks_a_field_is_not_ours(missing: str) -> None:
    """The error names the camera."""
    fields = to_fields(StoredAlarm(RAISED))
    del fields[missing]
    with pytest.raises(SinkError, match=r"^the Redis hash of camera 'cam' is not one of Patchline's"):
        from_fields("cam", fields)


@pytest.mark.parametrize(
    "changed", [{"state": "loud"}, {"passes": "many"}, {"version": ""}, {"raised_at": "soon"}, {"acknowledged_at": "x"}]
)
def test_a_hash_with_a_value_that_is_none_is_not_ours(changed: dict[str, str]) -> None:
    """Numbers, states and times have to be such."""
    with pytest.raises(SinkError, match="not one of Patchline's"):
        from_fields("cam", to_fields(StoredAlarm(RAISED)) | changed)


def test_a_hash_without_a_last_frame_has_none() -> None:
    """Fields that came later may be missing."""
    fields = to_fields(StoredAlarm(RAISED, 7, "last"))
    del fields["last"]
    assert from_fields("cam", fields) == StoredAlarm(RAISED, 7, "")


def test_an_event_comes_back_from_its_json() -> None:
    """What is None is left out; what is no event is refused."""
    event = AlarmEvent(
        camera="cam", alarm_id="f", change=AlarmChange.RAISED, state=AlarmState.UNACKNOWLEDGED, time=NOW, score=1.5
    )
    text = encode_event(event)
    assert json.loads(text) == {
        "camera": "cam",
        "alarm_id": "f",
        "change": "raised",
        "state": "unacknowledged",
        "time": "2026-03-02T08:15:30.250000Z",
        "score": 1.5,
    }
    assert decode_event(text) == decode_event(text.encode()) == event
    for bad in ("{}", "", b"\xff", text.replace("raised", "risen")):
        with pytest.raises(RecordError, match=r"^the message is no alarm event: "):
            decode_event(bad)
