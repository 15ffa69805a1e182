from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.types import Verdict
from patchline.stream.model.alarm import (
    Alarm,
    AlarmChange,
    AlarmConfig,
    AlarmEvent,
    AlarmRules,
    AlarmState,
    Observation,
    acknowledge,
    check_observed,
    observe,
    rules_of,
)
from patchline.stream.model.errors import ConfigError
from patchline.stream.model.frame import Position

CONFIG = AlarmConfig(k=2, n=4, m=3)
START = datetime(2026, 1, 1, tzinfo=UTC)
LETTERS = {"R": Verdict.REJECT, "P": Verdict.PASS, "-": Verdict.NOT_INSPECTED}


def play(script: str, config: AlarmConfig = CONFIG, alarm: Alarm | None = None) -> tuple[Alarm, list[AlarmEvent]]:
    """R reject, P pass, - not inspected, A acknowledge."""
    alarm = alarm or Alarm(camera="cam-1")
    events: list[AlarmEvent] = []
    for number, letter in enumerate(script):
        time = START + timedelta(seconds=number)
        if letter == "A":
            alarm, more = acknowledge(alarm, "ada", time)
        else:
            seen = Observation(camera="cam-1", frame_id=f"f{number}", verdict=LETTERS[letter], time=time, score=1.5)
            alarm, more = observe(alarm, seen, config)
        events += more
    return alarm, events


def changes(script: str, config: AlarmConfig = CONFIG) -> list[str]:
    return [event.change.value for event in play(script, config)[1]]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("PPRP", []),
        ("RPPPR", []),  # the first reject has left the window of 4
        ("RPPR", ["raised"]),
        ("RRRRRR", ["raised"]),
        ("RRPPP", ["raised", "returned"]),
        ("RRPPRPPP", ["raised", "returned"]),  # a reject starts the run of passes again
        ("RRA", ["raised", "acknowledged"]),
        ("RRAPPP", ["raised", "acknowledged", "cleared"]),
        ("RRPPPA", ["raised", "returned", "acknowledged", "cleared"]),
        ("RRPPPRR", ["raised", "returned", "reraised"]),
        ("RRPPPR", ["raised", "returned"]),  # the window starts afresh
        ("RRPPPRRPPPA", ["raised", "returned", "reraised", "returned", "acknowledged", "cleared"]),
        ("RRAAPPPAA", ["raised", "acknowledged", "cleared"]),
        ("AAPA", []),
        ("RRAPPPRR", ["raised", "acknowledged", "cleared", "raised"]),
        ("R-----R", ["raised"]),  # not inspected: neither for nor against
        ("RRPP-P", ["raised", "returned"]),
        ("------", []),
    ],
)
def test_states_follow_the_verdicts(script: str, expected: list[str]) -> None:
    """Each script of verdicts and acknowledgements brings exactly these changes."""
    assert changes(script) == expected


def test_rejects_that_raised_an_alarm_cannot_raise_it_again() -> None:
    """When the condition ends the window starts afresh: a reject soon after is one of k, not the third.

    The window is long enough to hold the rejects of before: only that it was emptied keeps them out.
    """
    config = AlarmConfig(k=2, n=6, m=2)
    assert changes("RRPPR", config) == ["raised", "returned"]
    assert changes("RRPPRR", config) == ["raised", "returned", "reraised"]
    assert changes("RRAPPR", config) == ["raised", "acknowledged", "cleared"]
    assert play("RRPP", config)[0].window == ""
    assert play("RRAPP", config)[0] == Alarm(camera="cam-1", passes=2)


def test_events_say_who_what_and_when() -> None:
    """A raise names the frame and score that brought it; an acknowledgement its operator; the alarm keeps its id."""
    alarm, events = play("RRPPPRRA")
    assert {event.alarm_id for event in events} == {"f1"}
    raised, _, reraised, acknowledged = events
    assert (raised.frame_id, raised.score, raised.state) == ("f1", 1.5, AlarmState.UNACKNOWLEDGED)
    assert (reraised.frame_id, reraised.change) == ("f6", AlarmChange.RERAISED)
    assert (acknowledged.operator, acknowledged.frame_id) == ("ada", None)
    assert (alarm.state, alarm.acknowledged_by, alarm.raised_at) == (
        AlarmState.ACKNOWLEDGED,
        "ada",
        START + timedelta(seconds=1),
    )


def test_a_second_alarm_has_another_id() -> None:
    """After it cleared, the next raise is a new alarm."""
    raised = [event for event in play("RRAPPPRR")[1] if event.change is AlarmChange.RAISED]
    assert [event.alarm_id for event in raised] == ["f1", "f7"]


@given(
    st.text(alphabet="RP-A", max_size=60),
    st.integers(1, 4).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))),
    st.integers(1, 4),
)
def test_every_alarm_is_raised_once_and_cleared_once(script: str, kn: tuple[int, int], m: int) -> None:
    """Whatever happens, an alarm is raised first, cleared last, each once, and acknowledged in between."""
    alarm, events = play(script, AlarmConfig(k=kn[0], n=kn[1], m=m))
    by_id: dict[str, list[AlarmChange]] = {}
    for event in events:
        by_id.setdefault(event.alarm_id, []).append(event.change)
    for number, steps in enumerate(by_id.values()):
        assert steps[0] is AlarmChange.RAISED
        assert steps.count(AlarmChange.RAISED) == 1
        assert steps.count(AlarmChange.ACKNOWLEDGED) <= 1
        if number < len(by_id) - 1 or alarm.state is AlarmState.NORMAL:
            assert steps[-1] is AlarmChange.CLEARED
            assert steps.count(AlarmChange.CLEARED) == 1
            assert AlarmChange.ACKNOWLEDGED in steps
    assert len(alarm.window) <= kn[1]
    assert (alarm.state is AlarmState.NORMAL) == (alarm.alarm_id is None)


def test_numbers_that_make_no_sense_are_refused() -> None:
    """k above n can never raise."""
    with pytest.raises(ConfigError, match=r"AlarmConfig\.k is 5, expected at most n \(3\)"):
        AlarmConfig(k=5, n=3, m=1)


@pytest.mark.parametrize("name", ["k", "n", "m"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_rule_that_needs_no_frame_is_refused(name: str, value: int) -> None:
    """With none of them an alarm would be raised by nothing, or end before it is seen; one of each is a rule."""
    with pytest.raises(ConfigError, match=rf"AlarmConfig\.{name} is {value}"):
        AlarmConfig(**({"k": 1, "n": 1, "m": 1} | {name: value}))
    assert AlarmConfig(k=1, n=1, m=1).n == 1


def test_the_nearest_rule_wins() -> None:
    """The camera's own, else its recipe's, else the general one; one rule alone is everybody's."""
    general, plate, gate = (AlarmConfig(k=1, n=n, m=1) for n in (1, 2, 3))
    rules = AlarmRules(general=general, recipes={"plate": plate}, cameras={"gate": gate})
    assert rules.of("gate", "plate") == rules.of("gate", None) == gate
    assert rules.of("other", "plate") == plate
    assert rules.of("other", "bottle") == rules.of("other", None) == general
    assert rules_of(rules) is rules
    assert rules_of(gate).of("any", "plate") == gate


@pytest.mark.parametrize(("name", "longest"), [("camera", 256), ("frame_id", 1024), ("recipe", 256)])
def test_names_that_become_state_are_bounded(name: str, longest: int) -> None:
    """A result of others may have any; one that is as long as may be is taken."""
    seen = Observation(camera="cam", frame_id="f", verdict=Verdict.PASS, time=datetime.now(UTC), recipe="plate")
    check_observed(_named(seen, name, "x" * longest))
    with pytest.raises(ValueError, match=f"{name} has {longest + 1:,} characters, expected at most {longest:,}"):
        check_observed(_named(seen, name, "x" * (longest + 1)))
    check_observed(replace(seen, position=Position("t" * 249, 0, 0)))
    with pytest.raises(ValueError, match="ce_frametopic has 250"):
        check_observed(replace(seen, position=Position("t" * 250, 0, 0)))


def _named(seen: Observation, name: str, text: str) -> Observation:
    changed: dict[str, Any] = {name: text}
    return replace(seen, **changed)
