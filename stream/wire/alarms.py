"""How alarms look in Redis: the fields of a camera's hash, and the JSON of an event.

Examples are in `stream/alarms/README.md`. Others can write there too: what is read is checked, field by field.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

import msgspec

from patchline.stream.model.alarm import Alarm, AlarmEvent, AlarmState
from patchline.stream.model.checks import is_text
from patchline.stream.model.errors import RecordError
from patchline.stream.model.feedback import MAX_NAME_CHARACTERS, MAX_REASON_CHARACTERS
from patchline.stream.model.result import check_zone

MAX_WINDOW: Final = 10_000
"""The longest window of verdicts."""
FIELDS: Final = (
    "camera",
    "state",
    "alarm_id",
    "raised_at",
    "acknowledged_by",
    "acknowledged_at",
    "window",
    "passes",
    "shelved_until",
    "shelved_by",
    "shelved_reason",
    "last",
    "version",
)
"""The fields of a hash; others in it are not looked at."""
LONGEST_FIELD: Final = MAX_WINDOW
_COUNT = re.compile(r"0|[1-9][0-9]{0,14}")
_WINDOW = re.compile(rf"[RP]{{0,{MAX_WINDOW}}}")
_LONGEST: Final = {
    "alarm_id": MAX_NAME_CHARACTERS,
    "acknowledged_by": MAX_NAME_CHARACTERS,
    "shelved_by": MAX_NAME_CHARACTERS,
    "shelved_reason": MAX_REASON_CHARACTERS,
    "last": 2 * MAX_NAME_CHARACTERS,
}


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """An alarm as Redis has it; `last` names the last frame that was taken into account."""

    alarm: Alarm
    version: int = 0
    last: str = ""


def encode_event(event: AlarmEvent) -> str:
    """An event as the JSON that the stream and the channel carry."""
    return msgspec.json.encode({k: v for k, v in asdict(event).items() if v is not None}).decode()


def decode_event(text: str | bytes) -> AlarmEvent:
    """The event in a message.

    Raises:
        RecordError: the message is no event.
    """
    try:
        return msgspec.json.decode(text, type=AlarmEvent)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RecordError(f"the message is no alarm event: {error}") from error


def to_fields(stored: StoredAlarm) -> dict[str, str]:
    """The fields of a camera's hash."""
    alarm = stored.alarm
    fields = {
        "camera": alarm.camera,
        "state": alarm.state.value,
        "alarm_id": alarm.alarm_id,
        "raised_at": _isoformat(alarm.raised_at),
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged_at": _isoformat(alarm.acknowledged_at),
        "window": alarm.window,
        "passes": str(alarm.passes),
        "shelved_until": _isoformat(alarm.shelved_until),
        "shelved_by": alarm.shelved_by,
        "shelved_reason": alarm.shelved_reason,
        "last": stored.last,
        "version": str(stored.version),
    }
    return {name: value for name, value in fields.items() if value is not None}


def from_fields(camera: str, fields: Mapping[str, str]) -> StoredAlarm:
    """The alarm in a camera's hash.

    Raises:
        RecordError: the hash is not one of Patchline's; names the field, what was found and what was expected.
    """
    try:
        for name, longest in _LONGEST.items():
            text = fields.get(name, "")
            if len(text) > longest or not is_text(text):
                raise ValueError(f"{name} is {brief(text)}, expected at most {longest:,} characters")
        alarm = Alarm(
            camera=camera,
            state=AlarmState(fields["state"]),
            alarm_id=fields.get("alarm_id"),
            raised_at=_time(fields, "raised_at"),
            acknowledged_by=fields.get("acknowledged_by"),
            acknowledged_at=_time(fields, "acknowledged_at"),
            window=_matching(_WINDOW, fields, "window", "R and P"),
            passes=int(_matching(_COUNT, fields, "passes", "a number")),
            shelved_until=_time(fields, "shelved_until"),
            shelved_by=fields.get("shelved_by"),
            shelved_reason=fields.get("shelved_reason"),
        )
        if (alarm.state is AlarmState.NORMAL) != (alarm.alarm_id is None):
            raise ValueError(f"alarm_id is {alarm.alarm_id!r} in the state {alarm.state.value}")
        version = int(_matching(_COUNT, fields, "version", "a number"))
    except KeyError as error:
        raise RecordError(_not_ours(camera, f"{error} is missing")) from error
    except ValueError as error:
        raise RecordError(_not_ours(camera, str(error)[:200])) from error
    return StoredAlarm(alarm, version, fields.get("last", ""))


def version_of(fields: Mapping[str, str]) -> int:
    """The version in a hash, whatever else it holds; 0 where there is none, as the script in Redis sees it too."""
    text = fields.get("version", "")
    return int(text) if _COUNT.fullmatch(text) else 0


def position_in(text: str | None) -> int | None:
    """A log's position as Redis has it; None where there is none, or what is there is no number."""
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def brief(text: str) -> str:
    """What others wrote, as a message may repeat it: short, and without anything that moves a cursor."""
    shown = repr(text[:80])
    return shown if len(text) <= 80 else f"{shown}... of {len(text):,} characters"


def _not_ours(camera: str, why: str) -> str:
    return f"the Redis hash of camera {brief(camera)} is not one of Patchline's: {why}"


def _matching(pattern: re.Pattern[str], fields: Mapping[str, str], name: str, expected: str) -> str:
    text = fields[name]
    if not pattern.fullmatch(text):
        raise ValueError(f"{name} is {brief(text)}, expected {expected}")
    return text


def _isoformat(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(fields: Mapping[str, str], name: str) -> datetime | None:
    text = fields.get(name)
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    check_zone(name, time)
    return time
