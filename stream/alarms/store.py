"""Alarms in Redis: a hash of each camera's current state, a stream of events, and a channel that announces them.

Keys, fields and messages are documented, with examples, in `stream/alarms/README.md`. Every change is one Lua script:
it compares the versions that the change was computed from, then writes the states, appends the events and publishes
them, all or nothing. So two writers (workers at a rebalance, an operator) cannot overwrite each other: the later one
computes again.

The position up to which a log of results has been taken into account changes in the same script. So what is in Redis is
always the alarms of exactly the results before that position, whichever worker wrote it and wherever it was killed, and
a Redis that comes back with older data says by itself where to go on.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.redis_client import RedisClient
from patchline.stream.model.alarm import Alarm, AlarmEvent
from patchline.stream.model.errors import SinkError
from patchline.stream.wire.alarms import StoredAlarm, decode_event, encode_event, from_fields, to_fields

# KEYS: events, cameras, positions, then the hash of each state. ARGV: the events kept, the channel, the rest as JSON.
_WRITE: Final = """
local given = cjson.decode(ARGV[3])
if given.log then
  local found = redis.call('HGET', KEYS[3], given.log) or ''
  if found ~= given.before then return 'moved' end
end
for i, state in ipairs(given.states) do
  local found = redis.call('HGET', KEYS[3 + i], 'version') or '0'
  if found ~= state.version then return 'changed' end
end
for i, state in ipairs(given.states) do
  redis.call('DEL', KEYS[3 + i])
  redis.call('HSET', KEYS[3 + i], unpack(state.fields))
  redis.call('SADD', KEYS[2], state.camera)
end
for _, event in ipairs(given.events) do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', event)
  redis.call('PUBLISH', ARGV[2], event)
end
if given.log then redis.call('HSET', KEYS[3], given.log, given.after) end
return 'written'
"""


@dataclass(frozen=True, slots=True)
class Advance:
    """A step along a log: its results were taken into account up to `before` (exclusive), and now are up to `after`."""

    log: str
    before: int | None
    after: int


class Written(StrEnum):
    """What became of a write."""

    WRITTEN = "written"
    CHANGED = "changed"
    """Nothing was written: someone else has written one of the states since it was read."""
    MOVED = "moved"
    """Nothing was written: the log's position is not the one that the write was computed from."""


class AlarmStore:
    """Reads and writes alarms.

    Every method that asks Redis raises SinkUnavailableError while it is away, and SinkError where it refuses.
    """

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._client = RedisClient(config)
        self._redis, self._ask = self._client.redis, self._client.ask
        self._write_script = self._redis.register_script(_WRITE)

    @property
    def where(self) -> str:
        """The address without its secrets."""
        return self._client.where

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
    def positions_key(self) -> str:
        """The hash of positions up to which logs of results are taken into account."""
        return f"{self._config.prefix}alarm-positions"

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
        return from_fields(camera, fields) if fields else StoredAlarm(Alarm(camera=camera))

    async def cameras(self) -> list[str]:
        """The cameras that have a state, in order of name."""
        return sorted(await self._ask(lambda: self._redis.smembers(self.cameras_key)))

    async def all(self) -> list[StoredAlarm]:
        """Every camera's alarm, in order of name."""
        return [await self.load(camera) for camera in await self.cameras()]

    async def position(self, log: str) -> int | None:
        """The position up to which (exclusive) a log of results is taken into account; None where it never was.

        Raises:
            SinkError: also when the position is no number.
        """
        text: str | None = await self._ask(lambda: self._redis.hget(self.positions_key, log))
        try:
            return None if text is None else int(text)
        except ValueError:
            raise SinkError(f"the Redis hash {self.positions_key} has {text!r} for {log}, expected a number") from None

    async def write(
        self, states: Sequence[StoredAlarm], events: Sequence[AlarmEvent], advance: Advance | None = None
    ) -> Written:
        """Replace states by their next ones and record the events and a log's new position, as one.

        Args:
            states: each with the version after the one that it was computed from.
            events: in their order.
            advance: of the log that brought the changes.
        """
        given: dict[str, Any] = {"states": [], "events": [encode_event(event) for event in events]}
        for stored in states:
            fields = [text for pair in to_fields(stored).items() for text in pair]
            given["states"].append(
                {"camera": stored.alarm.camera, "version": str(stored.version - 1), "fields": fields}
            )
        if advance is not None:
            before = "" if advance.before is None else str(advance.before)
            given |= {"log": advance.log, "before": before, "after": str(advance.after)}
        keys = [self.events_key, self.cameras_key, self.positions_key]
        keys += [self.key(stored.alarm.camera) for stored in states]
        arguments = [str(self._config.events_kept), self.channel, msgspec.json.encode(given).decode()]
        return Written(await self._ask(lambda: self._write_script(keys=keys, args=arguments)))

    async def change(
        self, camera: str, changed: Callable[[Alarm], tuple[Alarm, tuple[AlarmEvent, ...]]]
    ) -> tuple[AlarmEvent, ...]:
        """Apply a change to whatever the alarm is now; nothing is written where nothing changes."""
        while True:
            before = await self.load(camera)
            alarm, events = changed(before.alarm)
            if not events:
                return ()
            if await self.write([StoredAlarm(alarm, before.version + 1, before.last)], events) is Written.WRITTEN:
                return events

    async def request_acknowledgement(self, camera: str, operator: str) -> None:
        """Ask the workers to acknowledge, by the message that anyone may send."""
        await self._ask(lambda: self._redis.xadd(self.acknowledge_key, {"camera": camera, "operator": operator}))

    async def live(self, subscribed: Callable[[], None] | None = None) -> AsyncGenerator[AlarmEvent, None]:
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
        # A member that dies leaves messages that it took and never finished: after a while they are claimed by others.
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
        """Remove an acknowledgement message that has been dealt with."""
        await self._ask(lambda: self._redis.xack(self.acknowledge_key, group, message_id))
        await self._ask(lambda: self._redis.xdel(self.acknowledge_key, message_id))

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()
