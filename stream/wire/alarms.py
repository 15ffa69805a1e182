"""How alarms look in Redis: the fields of a camera's hash, and the JSON of an event.

Examples are in `stream/alarms/README.md`.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

import msgspec

from patchline.stream.model.alarm import Alarm, AlarmEvent, AlarmState
from patchline.stream.model.errors import RecordError, SinkError


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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
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
        "last": stored.last,
        "version": str(stored.version),
    }
    return {name: value for name, value in fields.items() if value is not None}


def from_fields(camera: str, fields: dict[str, str]) -> StoredAlarm:
    """The alarm in a camera's hash.

    Raises:
        SinkError: the hash is not one of Patchline's.
    """
    try:
        alarm = Alarm(
            camera=camera,
            state=AlarmState(fields["state"]),
            alarm_id=fields.get("alarm_id"),
            raised_at=_time(fields.get("raised_at")),
            acknowledged_by=fields.get("acknowledged_by"),
            acknowledged_at=_time(fields.get("acknowledged_at")),
            window=fields["window"],
            passes=int(fields["passes"]),
        )
        return StoredAlarm(alarm, int(fields["version"]), fields.get("last", ""))
    except (KeyError, ValueError) as error:
        raise SinkError(f"the Redis hash of camera {camera!r} is not one of Patchline's: {error}") from error


def _isoformat(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
