"""The alarm of one camera: the states and transitions of ISA-18.2, as a pure function of the verdicts.

| state                  | condition | acknowledged | leaves it                                                   |
|------------------------|-----------|--------------|-------------------------------------------------------------|
| `normal`               | absent    | -            | k rejects among the last n: raised -> `unacknowledged`        |
| `unacknowledged`       | present   | no           | operator: -> `acknowledged`; m passes: -> `returned`          |
| `acknowledged`         | present   | yes          | m passes: cleared -> `normal`                                 |
| `returned`             | absent    | no           | operator: cleared -> `normal`; k of n again: -> `unacknowledged` |

From `raised` to `cleared` it is one alarm with one identifier, however often the condition comes back in between.
A frame that was not inspected says nothing of the part: it enters neither the window of n nor the run of passes.
When the condition ends, the window starts afresh: the rejects that raised the alarm cannot raise it a second time.
An alarm that is shelved (`shelving.py`) goes on through these states, and its events say that nobody is to be alerted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from patchline.engine.types import Verdict
from patchline.stream.model.checks import at_least
from patchline.stream.model.errors import ConfigError
from patchline.stream.model.frame import Position
from patchline.stream.model.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmConfig:
    """When a camera raises an alarm: `k` rejects among its last `n` inspected frames; `m` passes in a row end it."""

    k: int = 3
    n: int = 10
    m: int = 10

    def __post_init__(self) -> None:
        at_least(self, 1, "k", "n", "m")
        if self.k > self.n:
            raise ConfigError(f"AlarmConfig.k is {self.k}, expected at most n ({self.n})")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRules:
    """The rule of each camera: its own, else that of the recipe that judged the frame, else the general one."""

    general: AlarmConfig = field(default_factory=AlarmConfig)
    recipes: Mapping[str, AlarmConfig] = field(default_factory=dict)
    cameras: Mapping[str, AlarmConfig] = field(default_factory=dict)

    def of(self, camera: str, recipe: str | None) -> AlarmConfig:
        """The rule of a camera whose frame was judged by a recipe."""
        own = self.cameras.get(camera)
        return own if own is not None else self.recipes.get(recipe or "", self.general)


def rules_of(alarms: AlarmRules | AlarmConfig) -> AlarmRules:
    """Rules as they are, and one rule as that of all cameras."""
    return alarms if isinstance(alarms, AlarmRules) else AlarmRules(general=alarms)


class AlarmState(StrEnum):
    """Where an alarm stands."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"


class AlarmChange(StrEnum):
    """What happened to an alarm."""

    RAISED = "raised"
    RERAISED = "reraised"
    """The condition came back before anyone acknowledged: the same alarm again."""
    RETURNED = "returned"
    ACKNOWLEDGED = "acknowledged"
    CLEARED = "cleared"
    SHELVED = "shelved"
    """Somebody wants not to be alerted for a while, whatever the state is."""
    UNSHELVED = "unshelved"
    """That while is over, by itself or because somebody said so."""
    FORGOTTEN = "forgotten"
    """Somebody removed the camera and its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmEvent:
    """One change of one camera's alarm.

    `alarm_id` is the identifier of the frame that raised it; empty where a camera without an alarm is shelved or
    forgotten.
    """

    camera: str
    alarm_id: str
    change: AlarmChange
    state: AlarmState
    """The state after the change."""
    time: datetime
    frame_id: str | None = None
    """The frame that brought the change; None where an operator did."""
    recipe: str | None = None
    score: float | None = None
    operator: str | None = None
    reason: str | None = None
    """Why it is shelved, as the operator said."""
    until: datetime | None = None
    """When it comes back by itself, of one that is shelved."""
    shelved: bool | None = None
    """True: it is shelved, and nobody is to be alerted. Else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A camera's alarm: its state, and the recent verdicts its next change depends on.

    `window` holds the last n inspected frames, oldest first: "R" for reject, "P" for pass.
    """

    camera: str
    state: AlarmState = AlarmState.NORMAL
    alarm_id: str | None = None
    raised_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    window: str = ""
    passes: int = 0
    """Passes in a row, up to the last inspected frame."""
    shelved_until: datetime | None = None
    """None: it is not shelved."""
    shelved_by: str | None = None
    shelved_reason: str | None = None

    @property
    def shelved(self) -> bool | None:
        """True where it is shelved, else None, as its events say it."""
        return True if self.shelved_until is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A judged frame, as far as alarms care."""

    camera: str
    frame_id: str
    verdict: Verdict
    time: datetime
    recipe: str | None = None
    score: float | None = None
    position: Position | None = None
    """Where the frame came from, if it can be read again from there."""


MAX_CAMERA_CHARACTERS = 256
"""The longest name of a camera that has alarms."""


def check_observed(seen: Observation) -> None:
    """Refuse a result whose names are longer than those that this service writes: it becomes a state and an event.

    Raises:
        ValueError: names the field, what was found and what was expected.
    """
    names = {
        "camera": (seen.camera, MAX_CAMERA_CHARACTERS),
        "frame_id": (seen.frame_id, 1024),
        "recipe": (seen.recipe or "", 256),
        "ce_frametopic": (seen.position.topic if seen.position is not None else "", 249),
    }
    for name, (found, longest) in names.items():
        if len(found) > longest:
            raise ValueError(f"{name} has {len(found):,} characters, expected at most {longest:,}")


def observation_of(result: Result, position: Position | None) -> Observation:
    """A result, as far as alarms care."""
    return Observation(
        camera=result.camera,
        frame_id=result.frame_id,
        verdict=result.verdict,
        time=result.time,
        recipe=result.recipe,
        score=result.score,
        position=position,
    )


def observe(alarm: Alarm, seen: Observation, config: AlarmConfig) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
    """The alarm after one more judged frame, and what changed."""
    if seen.verdict is Verdict.NOT_INSPECTED:
        return alarm, ()
    reject = seen.verdict is Verdict.REJECT
    window = (alarm.window + ("R" if reject else "P"))[-config.n :]
    passes = 0 if reject else alarm.passes + 1
    alarm = replace(alarm, window=window, passes=passes)

    def event(change: AlarmChange, state: AlarmState, alarm_id: str) -> AlarmEvent:
        return AlarmEvent(
            camera=seen.camera,
            alarm_id=alarm_id,
            change=change,
            state=state,
            time=seen.time,
            frame_id=seen.frame_id,
            recipe=seen.recipe,
            score=seen.score,
            shelved=alarm.shelved,
        )

    if alarm.state in (AlarmState.NORMAL, AlarmState.RETURNED):
        if not reject or window.count("R") < config.k:
            return alarm, ()
        if alarm.state is AlarmState.RETURNED and alarm.alarm_id is not None:
            again = event(AlarmChange.RERAISED, AlarmState.UNACKNOWLEDGED, alarm.alarm_id)
            return replace(alarm, state=AlarmState.UNACKNOWLEDGED), (again,)
        raised = event(AlarmChange.RAISED, AlarmState.UNACKNOWLEDGED, seen.frame_id)
        begun = replace(
            _without_alarm(alarm), state=AlarmState.UNACKNOWLEDGED, alarm_id=seen.frame_id, raised_at=seen.time
        )
        return begun, (raised,)
    if passes < config.m or alarm.alarm_id is None:
        return alarm, ()
    if alarm.state is AlarmState.UNACKNOWLEDGED:
        returned = event(AlarmChange.RETURNED, AlarmState.RETURNED, alarm.alarm_id)
        return replace(alarm, state=AlarmState.RETURNED, window=""), (returned,)
    cleared = event(AlarmChange.CLEARED, AlarmState.NORMAL, alarm.alarm_id)
    return replace(_without_alarm(alarm), window=""), (cleared,)


def acknowledge(alarm: Alarm, operator: str, time: datetime) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
    """The alarm once an operator has seen it. Nothing changes where there is nothing to acknowledge."""
    if alarm.alarm_id is None or alarm.state not in (AlarmState.UNACKNOWLEDGED, AlarmState.RETURNED):
        return alarm, ()

    def event(change: AlarmChange, state: AlarmState, alarm_id: str) -> AlarmEvent:
        return AlarmEvent(
            camera=alarm.camera,
            alarm_id=alarm_id,
            change=change,
            state=state,
            time=time,
            operator=operator,
            shelved=alarm.shelved,
        )

    if alarm.state is AlarmState.UNACKNOWLEDGED:
        seen = event(AlarmChange.ACKNOWLEDGED, AlarmState.ACKNOWLEDGED, alarm.alarm_id)
        acknowledged = replace(alarm, state=AlarmState.ACKNOWLEDGED, acknowledged_by=operator, acknowledged_at=time)
        return acknowledged, (seen,)
    return _without_alarm(alarm), (
        event(AlarmChange.ACKNOWLEDGED, AlarmState.NORMAL, alarm.alarm_id),
        event(AlarmChange.CLEARED, AlarmState.NORMAL, alarm.alarm_id),
    )


def _without_alarm(alarm: Alarm) -> Alarm:
    """What stays of a camera when its alarm is over: recent verdicts, and whether it is shelved."""
    return replace(
        alarm, state=AlarmState.NORMAL, alarm_id=None, raised_at=None, acknowledged_by=None, acknowledged_at=None
    )
