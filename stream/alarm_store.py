"""Alarms in Redis: a hash of each camera's current state, a stream of events, and a channel that announces them.

Keys, fields and messages are documented, with examples, in `stream/README.md`. Every change is one Lua script: it
compares the version the change was computed from, then writes the state, appends the events and publishes them, all or
nothing. Two writers (workers at a rebalance, an operator) cannot overwrite each other: the later one computes again.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import redis.asyncio as redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from stream.alarms import Alarm, AlarmEvent, AlarmState
from stream.config import RedisConfig
from stream.errors import RecordError, SinkError, SinkUnavailableError
from stream.redaction import redact_url

_WRITE: Final = """
local found = redis.call('HGET', KEYS[1], 'version') or '0'
if found ~= ARGV[1] then return 0 end
local fields = cjson.decode(ARGV[2])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('SADD', KEYS[3], ARGV[5])
for i = 6, #ARGV do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'event', ARGV[i])
  redis.call('PUBLISH', ARGV[4], ARGV[i])
end
return 1
"""


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """An alarm as Redis has it; `last` names the last frame that was taken into account."""

    alarm: Alarm
    version: int = 0
    last: str = ""


class AlarmStore:
    """Reads and writes alarms.

    Raises, everywhere: SinkUnavailableError while Redis is away, SinkError where it refuses.
    """

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._where = redact_url(config.url)
        try:
            self._redis: Any = redis.from_url(
                config.url,
                decode_responses=True,
                socket_timeout=config.timeout_s,
                socket_connect_timeout=config.timeout_s,
            )
        except ValueError as error:
            raise SinkError(f"the Redis URL {self._where} is not one: {error}") from None
        self._write_script = self._redis.register_script(_WRITE)

    @property
    def where(self) -> str:
        """The address without its secrets."""
        return self._where

    def key(self, camera: str) -> str:
        """The hash of a camera's state."""
        return f"{self._config.prefix}alarm:{camera}"

    @property
    def events_key(self) -> str:
        """The stream of events."""
        return f"{self._config.prefix}alarms"

    @property
    def cameras_key(self) -> str:
        """The set of cameras that have a state."""
        return f"{self._config.prefix}alarm-cameras"

    @property
    def channel(self) -> str:
        """The channel that announces events as they happen."""
        return f"{self._config.prefix}alarms:live"

    @property
    def acknowledge_key(self) -> str:
        """The stream that takes acknowledgements."""
        return f"{self._config.prefix}alarms:ack"

    async def ping(self) -> None:
        """Check that Redis answers."""
        await self._ask(lambda: self._redis.ping())

    async def load(self, camera: str) -> StoredAlarm:
        """A camera's alarm; `normal` where there is none yet."""
        fields: dict[str, str] = await self._ask(lambda: self._redis.hgetall(self.key(camera)))
        return _from_fields(camera, fields) if fields else StoredAlarm(Alarm(camera=camera))

    async def cameras(self) -> list[str]:
        """The cameras that have a state, in order of name."""
        return sorted(await self._ask(lambda: self._redis.smembers(self.cameras_key)))

    async def all(self) -> list[StoredAlarm]:
        """Every camera's alarm, in order of name."""
        return [await self.load(camera) for camera in await self.cameras()]

    async def write(
        self, before: StoredAlarm, alarm: Alarm, last: str, events: Sequence[AlarmEvent]
    ) -> StoredAlarm | None:
        """Replace `before` by `alarm` and record the events, as one.

        Returns:
            What is stored now, or None where someone else has written since `before` was read.
        """
        after = StoredAlarm(alarm, before.version + 1, last)
        fields = msgspec.json.encode([text for pair in _to_fields(after).items() for text in pair]).decode()
        arguments = [
            str(before.version),
            fields,
            str(self._config.events_kept),
            self.channel,
            alarm.camera,
            *(encode_event(event) for event in events),
        ]
        keys = [self.key(alarm.camera), self.events_key, self.cameras_key]
        written = await self._ask(lambda: self._write_script(keys=keys, args=arguments))
        return after if written else None

    async def change(
        self, camera: str, changed: Callable[[Alarm], tuple[Alarm, tuple[AlarmEvent, ...]]]
    ) -> tuple[AlarmEvent, ...]:
        """Apply a change to whatever the alarm is now; nothing is written where nothing changes."""
        while True:
            before = await self.load(camera)
            alarm, events = changed(before.alarm)
            if not events:
                return ()
            if await self.write(before, alarm, before.last, events) is not None:
                return events

    async def request_acknowledgement(self, camera: str, operator: str) -> None:
        """Ask the workers to acknowledge, by the message that anyone may send."""
        await self._ask(lambda: self._redis.xadd(self.acknowledge_key, {"camera": camera, "operator": operator}))

    async def live(self, subscribed: Callable[[], None] | None = None) -> AsyncIterator[AlarmEvent]:
        """Every event as it is announced, from when `subscribed` is called; never ends."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await self._ask(lambda: channel.subscribe(self.channel))
            if subscribed is not None:
                subscribed()
            while True:
                message = await self._ask(lambda: channel.get_message(timeout=self._config.timeout_s / 2))
                if message is not None:
                    yield decode_event(message["data"])

    async def acknowledgements(self, group: str, consumer: str) -> AsyncIterator[tuple[str, dict[str, str]]]:
        """Messages of the acknowledgement stream for this member of the group, those not `done` first; never ends."""
        try:
            await self._ask(lambda: self._redis.xgroup_create(self.acknowledge_key, group, id="0", mkstream=True))
        except SinkError as error:
            if "BUSYGROUP" not in str(error):
                raise
        # Messages that another member took and never finished, it may have died: after a while they are ours.
        wait_ms = round(self._config.timeout_s * 500)
        while True:
            _, stale, *_ = await self._ask(
                lambda: self._redis.xautoclaim(self.acknowledge_key, group, consumer, 30_000, "0", count=10)
            )
            fresh = await self._ask(
                lambda: self._redis.xreadgroup(group, consumer, {self.acknowledge_key: ">"}, count=10, block=wait_ms)
            )
            for message_id, fields in [*stale, *(message for _, messages in fresh or [] for message in messages)]:
                yield message_id, fields or {}

    async def done(self, group: str, message_id: str) -> None:
        """An acknowledgement message has been dealt with."""
        await self._ask(lambda: self._redis.xack(self.acknowledge_key, group, message_id))
        await self._ask(lambda: self._redis.xdel(self.acknowledge_key, message_id))

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()

    async def _ask(self, request: Callable[[], Any]) -> Any:
        try:
            return await request()
        except (AuthenticationError, NoPermissionError) as error:
            raise SinkError(f"Redis at {self._where} refuses: {error}") from error
        except ResponseError as error:
            passing = str(error).startswith(
                ("LOADING", "BUSY ", "READONLY", "MASTERDOWN", "OOM", "MISCONF", "TRYAGAIN")
            )
            kind = SinkUnavailableError if passing else SinkError
            raise kind(f"Redis at {self._where}: {error}") from error
        except (RedisError, OSError, TimeoutError) as error:
            raise SinkUnavailableError(f"Redis at {self._where}: {error}") from error


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
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RecordError(f"the message is no alarm event: {error}") from error


def _to_fields(stored: StoredAlarm) -> dict[str, str]:
    alarm = stored.alarm
    fields = {
        "camera": alarm.camera,
        "state": alarm.state.value,
        "alarm_id": alarm.alarm_id,
        "raised_at": _text(alarm.raised_at),
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged_at": _text(alarm.acknowledged_at),
        "window": alarm.window,
        "passes": str(alarm.passes),
        "last": stored.last,
        "version": str(stored.version),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _from_fields(camera: str, fields: dict[str, str]) -> StoredAlarm:
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


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
