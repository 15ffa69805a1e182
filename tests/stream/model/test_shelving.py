from dataclasses import replace
from datetime import UTC, datetime, timedelta

from patchline.engine.types import Verdict
from patchline.stream.model.alarm import (
    Alarm,
    AlarmChange,
    AlarmConfig,
    AlarmEvent,
    AlarmState,
    Observation,
    acknowledge,
    observe,
)
from patchline.stream.model.shelving import forgotten, shelf_time_over, shelve, unshelve

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=30)
RULE = AlarmConfig(k=2, n=4, m=2)


def seen(alarm: Alarm, script: str) -> tuple[Alarm, list[AlarmEvent]]:
    events: list[AlarmEvent] = []
    for number, letter in enumerate(script):
        verdict = Verdict.REJECT if letter == "R" else Verdict.PASS
        frame = Observation(camera="cam", frame_id=f"f{number}", verdict=verdict, time=NOW)
        alarm, changes = observe(alarm, frame, RULE)
        events += changes
    return alarm, events


def test_a_shelved_alarm_is_tracked_as_any_other_and_says_that_it_is_shelved() -> None:
    """States, window and identity are those of an alarm that is not shelved; who shelved it and why stays with it."""
    shelved, _ = shelve(Alarm(camera="cam"), LATER, "ada", "lamp", NOW)
    for script in ("RR", "RRPP", "RRPPRR", "RRPPPPPP"):
        plain, plain_events = seen(Alarm(camera="cam"), script)
        quiet, quiet_events = seen(shelved, script)
        assert replace(quiet, shelved_until=None, shelved_by=None, shelved_reason=None) == plain
        assert (quiet.shelved_until, quiet.shelved_by, quiet.shelved_reason) == (LATER, "ada", "lamp")
        assert [replace(event, shelved=None) for event in quiet_events] == plain_events
        assert all(event.shelved for event in quiet_events)
        both = [acknowledge(alarm, "ben", NOW) for alarm in (plain, quiet)]
        assert both[1][0].state is both[0][0].state
        assert both[1][0].shelved_until == LATER
        assert all(event.shelved for event in both[1][1])


def test_shelving_says_who_why_and_until_when() -> None:
    """Once more, and the later word counts; without a reason there is none."""
    raised, _ = seen(Alarm(camera="cam"), "RR")
    shelved, (event,) = shelve(raised, LATER, "ada", "lamp", NOW)
    assert event == AlarmEvent(
        camera="cam",
        alarm_id="f1",
        change=AlarmChange.SHELVED,
        state=AlarmState.UNACKNOWLEDGED,
        time=NOW,
        operator="ada",
        reason="lamp",
        until=LATER,
        shelved=True,
    )
    again, (event,) = shelve(shelved, NOW + timedelta(hours=1), "ben", "", NOW)
    assert (again.shelved_by, again.shelved_reason, event.reason) == ("ben", None, None)
    assert event.until == again.shelved_until == NOW + timedelta(hours=1)


def test_what_comes_back_says_what_it_is_then() -> None:
    """By an operator, or by itself; one that is not shelved does not come back."""
    shelved, _ = seen(shelve(Alarm(camera="cam"), LATER, "ada", "", NOW)[0], "RR")
    for operator in ("ben", None):
        back, (event,) = unshelve(shelved, operator, LATER)
        assert back == seen(Alarm(camera="cam"), "RR")[0]
        assert (event.change, event.state, event.operator) == (
            AlarmChange.UNSHELVED,
            AlarmState.UNACKNOWLEDGED,
            operator,
        )
        assert event.shelved is None
        assert unshelve(back, operator, LATER) == (back, ())


def test_the_time_on_the_shelf_is_bounded() -> None:
    """It is over at its end, and where somebody wrote an end that lies farther ahead than any may."""
    longest = timedelta(hours=8)
    shelved, _ = shelve(Alarm(camera="cam"), LATER, "ada", "", NOW)
    assert not shelf_time_over(Alarm(camera="cam"), NOW, longest)
    assert not shelf_time_over(shelved, NOW, longest)
    assert not shelf_time_over(shelved, LATER - timedelta(microseconds=1), longest)
    assert shelf_time_over(shelved, LATER, longest)
    at_most = replace(shelved, shelved_until=NOW + longest + timedelta(seconds=60))
    assert not shelf_time_over(at_most, NOW, longest), "clocks differ"
    assert shelf_time_over(replace(shelved, shelved_until=datetime(2099, 1, 1, tzinfo=UTC)), NOW, longest)


def test_a_camera_is_forgotten_with_what_it_was() -> None:
    """The event has the alarm's identity, where there was an alarm."""
    raised, _ = seen(Alarm(camera="cam"), "RR")
    event = forgotten(raised, "ada", NOW)
    assert (event.change, event.alarm_id, event.state) == (AlarmChange.FORGOTTEN, "f1", AlarmState.UNACKNOWLEDGED)
    assert forgotten(Alarm(camera="cam"), "ada", NOW).alarm_id == ""
