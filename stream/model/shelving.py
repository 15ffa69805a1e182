"""Alarms that are put on the shelf for a while, after ISA-18.2, and cameras that are forgotten: pure functions too.

A shelved alarm is tracked as before, so that nothing is missed when it comes back, and annunciated to nobody. It comes
back by itself when its time is over. Who shelved it and why are in the event and in the state.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from patchline.stream.model.alarm import Alarm, AlarmChange, AlarmEvent
from patchline.stream.model.clock import AHEAD


def shelve(
    alarm: Alarm, until: datetime, operator: str, reason: str, time: datetime
) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
    """The alarm once an operator has shelved it; one that is shelved has the new time, operator and reason.

    Args:
        alarm: as it is.
        until: when it comes back by itself.
        operator: who says so.
        reason: why; may be empty.
        time: when it was said.
    """
    shelved = replace(alarm, shelved_until=until, shelved_by=operator, shelved_reason=reason or None)
    said = _event(shelved, AlarmChange.SHELVED, time, operator)
    return shelved, (replace(said, reason=reason or None, until=until),)


def unshelve(alarm: Alarm, operator: str | None, time: datetime) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
    """The alarm that is no longer shelved; nothing changes where it was not. `operator` is None when time was over."""
    if alarm.shelved_until is None:
        return alarm, ()
    back = replace(alarm, shelved_until=None, shelved_by=None, shelved_reason=None)
    return back, (_event(back, AlarmChange.UNSHELVED, time, operator),)


def shelf_time_over(alarm: Alarm, now: datetime, longest: timedelta) -> bool:
    """Whether a shelved alarm has to come back: its time is over, or lies farther ahead than any may."""
    until = alarm.shelved_until
    return until is not None and not now < until <= now + longest + AHEAD


def forgotten(alarm: Alarm, operator: str, time: datetime) -> AlarmEvent:
    """What is said of a camera that an operator removes."""
    return _event(alarm, AlarmChange.FORGOTTEN, time, operator)


def _event(alarm: Alarm, change: AlarmChange, time: datetime, operator: str | None) -> AlarmEvent:
    return AlarmEvent(
        camera=alarm.camera,
        alarm_id=alarm.alarm_id or "",
        change=change,
        state=alarm.state,
        time=time,
        operator=operator,
        shelved=alarm.shelved,
    )
