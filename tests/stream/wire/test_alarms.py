import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from patchline.stream.model.alarm import Alarm, AlarmChange, AlarmEvent, AlarmState
from patchline.stream.model.errors import RecordError
from patchline.stream.wire.alarms import (
    FIELDS,
    StoredAlarm,
    brief,
    decode_event,
    encode_event,
    from_fields,
    position_in,
    to_fields,
    version_of,
)

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
    shelved = StoredAlarm(replace(RAISED, shelved_until=NOW, shelved_by="ben", shelved_reason="lamp"), 8, "last")
    more = {"shelved_until": fields["raised_at"], "shelved_by": "ben", "shelved_reason": "lamp", "version": "8"}
    assert to_fields(shelved) == fields | more
    assert from_fields("cam", to_fields(shelved)) == shelved
    assert set(to_fields(shelved)) == set(FIELDS)
    quiet = StoredAlarm(Alarm(camera="cam"))
    assert set(to_fields(quiet)) == {"camera", "state", "window", "passes", "last", "version"}
    assert from_fields("cam", to_fields(quiet)) == quiet


@pytest.mark.parametrize("missing", ["state", "window", "passes", "version"])
def test_a_hash_that_lacks_a_field_is_not_ours(missing: str) -> None:
    """The error names the camera."""
    fields = to_fields(StoredAlarm(RAISED))
    del fields[missing]
    with pytest.raises(RecordError, match=r"^the Redis hash of camera 'cam' is not one of Patchline's"):
        from_fields("cam", fields)


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "loud"},
        {"passes": "many"},
        {"passes": "-1"},
        {"passes": "1" * 16},
        {"version": ""},
        {"version": "07"},
        {"raised_at": "soon"},
        {"raised_at": "2026-01-01T00:00:00"},
        {"acknowledged_at": "x"},
        {"shelved_until": "0001-01-01T00:00:00+14:00"},
        {"window": "RPX"},
        {"window": "R" * 10_001},
        {"alarm_id": "x" * 1025},
        {"shelved_reason": "x" * 2001},
        {"last": "x" * 2049},
        {"acknowledged_by": "\udcff"},
        {"state": "normal"},
    ],
)
def test_a_hash_with_a_value_that_is_none_is_not_ours(changed: dict[str, str]) -> None:
    """Numbers, states and times have to be such."""
    with pytest.raises(RecordError, match="not one of Patchline's") as caught:
        from_fields("cam", to_fields(StoredAlarm(RAISED)) | changed)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


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
    for bad in ("{}", "", b"\xff", "\udcff", "[" * 100_000, text.replace("raised", "risen")):
        with pytest.raises(RecordError, match=r"^the message is no alarm event: "):
            decode_event(bad)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("7", 7), ("9" * 15, 10**15 - 1), ("9" * 16, None), ("", None), ("-1", None), ("01", None), ("x", None)],
)
def test_a_number_is_one_only_as_this_project_writes_it(text: str, number: int | None) -> None:
    """The scripts in Redis see it in the same way, or two would wait for each other."""
    assert position_in(text) == number
    assert version_of({"version": text}) == (number or 0)
    assert (position_in(None), version_of({})) == (None, 0)


def test_what_others_wrote_is_repeated_briefly() -> None:
    """Nothing of it moves a cursor."""
    assert brief("cam-1") == "'cam-1'"
    assert brief("x" * 5000) == f"'{'x' * 80}'... of 5,000 characters"
    assert brief("\x1b[2J\u202e\udcff\n").isprintable()
