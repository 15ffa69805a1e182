"""Alarms in Redis: a hash of each camera's current state, a stream of events, and a channel that announces them.

Keys, fields and messages are documented, with examples, in `stream/alarms/README.md`. Every change is one Lua script:
it compares the versions that the change was computed from, then writes the states, appends the events and publishes
them, all or nothing. So two writers (workers at a rebalance, an operator) cannot overwrite each other: the later one
computes again.

The position up to which a log of results has been taken into account changes in the same script. So what is in Redis is
always the alarms of exactly the results before that position, whichever worker wrote it and wherever it was killed, and
a Redis that comes back with older data says by itself where to go on.

People and other programs write to the same Redis. What is not ours is told, passed over, and replaced when it is in our
place; how many cameras have a state is bounded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from patchline.stream.alarms.config import AlarmLimits, RedisConfig
from patchline.stream.alarms.keys import AlarmKeys
from patchline.stream.alarms.redis_client import ForeignKeyError, RedisClient
from patchline.stream.alarms.scripts import FORGET, LOAD, TAKE_ACKNOWLEDGEMENTS, WRITE
from patchline.stream.alarms.written import Advance, WriteAnswer, Written
from patchline.stream.model.alarm import MAX_CAMERA_CHARACTERS, Alarm, AlarmChange, AlarmEvent
from patchline.stream.model.checks import is_text
from patchline.stream.model.errors import Foreign, RecordError, SinkError
from patchline.stream.model.feedback import MAX_NAME_CHARACTERS
from patchline.stream.model.observer import Observer
from patchline.stream.wire.alarms import (
    FIELDS,
    LONGEST_FIELD,
    StoredAlarm,
    brief,
    decode_event,
    encode_event,
    from_fields,
    position_in,
    to_fields,
    version_of,
)

_ALERTING: Final = (AlarmChange.RAISED, AlarmChange.RERAISED, AlarmChange.RETURNED, AlarmChange.CLEARED)
"""What is announced only where the alarm is not shelved."""
_POLL_S: Final = 0.25
"""How often acknowledgements are asked for."""
_CLAIMED_AFTER_MS: Final = 30_000
_LOADED_AT_ONCE: Final = 200
_REQUESTS_KEPT: Final = 10_000
_TOLD: Final = 1000
"""Of so much that is not ours it is remembered that it was told."""


class AlarmStore:
    """Reads and writes alarms.

    Every method that asks Redis raises SinkUnavailableError while it is away, or refuses.

    Args:
        config: where Redis is.
        limits: how many cameras may have a state.
        observer: told of what is not ours.
    """

    def __init__(
        self, config: RedisConfig, limits: AlarmLimits | None = None, observer: Observer | None = None
    ) -> None:
        self._config, self._limits = config, limits or AlarmLimits()
        self._observer = observer or Observer()
        self.keys = AlarmKeys(config.prefix)
        """The names under which everything lies."""
        self._client = RedisClient(config)
        self._redis, self._ask = self._client.redis, self._client.ask
        self._write, self._load, self._forget, self._take = (
            self._redis.register_script(script) for script in (WRITE, LOAD, FORGET, TAKE_ACKNOWLEDGEMENTS)
        )
        self._told: OrderedDict[tuple[Foreign, str], None] = OrderedDict()

    @property
    def where(self) -> str:
        """The address without its secrets."""
        return self._client.where

    async def ping(self) -> None:
        """Check that Redis answers."""
        await self._ask(lambda: self._redis.ping())

    async def load(self, camera: str) -> StoredAlarm:
        """A camera's alarm; `normal` where there is none yet, or what is there is not ours."""
        (stored,) = await self.load_all([camera])
        return stored

    async def load_all(self, cameras: Sequence[str]) -> list[StoredAlarm]:
        """The alarms of cameras, in their order, each as `load` gives it."""
        found = await self._fields(cameras, FIELDS)
        return [self._alarm_in(camera, fields) for camera, fields in zip(cameras, found, strict=True)]

    async def _fields(self, cameras: Sequence[str], names: Sequence[str]) -> list[dict[str, str] | None]:
        """Fields of the hashes of cameras; None for what is no hash."""
        found: list[dict[str, str] | None] = []
        for first in range(0, len(cameras), _LOADED_AT_ONCE):
            keys = [self.keys.state(camera) for camera in cameras[first : first + _LOADED_AT_ONCE]]
            arguments = [str(LONGEST_FIELD), *names]
            for flat in await self._ask(partial(self._load, keys=keys, args=arguments)):
                found.append(_paired(flat) if isinstance(flat, list) else None)
        return found

    def _alarm_in(self, camera: str, fields: dict[str, str] | None) -> StoredAlarm:
        if not fields and fields is not None:
            return StoredAlarm(Alarm(camera=camera))
        if fields is None:
            self.foreign(Foreign.ALARM_STATE, f"the Redis key of camera {brief(camera)} is no state of an alarm")
            return StoredAlarm(Alarm(camera=camera))
        try:
            return from_fields(camera, fields)
        except RecordError as error:
            self.foreign(Foreign.ALARM_STATE, str(error))
            return StoredAlarm(Alarm(camera=camera), version_of(fields))

    async def cameras(self) -> list[str]:
        """The cameras that have a state, in order of name."""
        try:
            found: set[str] = await self._ask(lambda: self._redis.smembers(self.keys.cameras))
        except ForeignKeyError:
            return []  # what writes the next state removes it, and says so
        ours = {camera for camera in found if len(camera) <= MAX_CAMERA_CHARACTERS and is_text(camera)}
        for name in found - ours:
            self.foreign(
                Foreign.ALARM_CAMERA, f"the Redis set {self.keys.cameras} has {brief(name)}, expected a camera"
            )
        return sorted(ours)

    async def all(self) -> list[StoredAlarm]:
        """Every camera's alarm, in order of name."""
        return await self.load_all(await self.cameras())

    async def shelved(self) -> list[StoredAlarm]:
        """The alarms that are shelved, in order of the cameras' names."""
        cameras = await self.cameras()
        found = await self._fields(cameras, ("shelved_until",))
        stored = await self.load_all([camera for camera, fields in zip(cameras, found, strict=True) if fields])
        return [one for one in stored if one.alarm.shelved]

    async def position(self, log: str) -> int | None:
        """The position up to which (exclusive) a log of results is taken into account.

        None: it never was, or what stands there is no number.
        """
        try:
            text: str | None = await self._ask(lambda: self._redis.hget(self.keys.positions, log))
        except ForeignKeyError:
            return None  # what writes the next position removes it, and says so
        found = position_in(text)
        if text is not None and found is None:
            expected = f"the Redis hash {self.keys.positions} has {brief(text)} for {brief(log)}, expected a number"
            self.foreign(Foreign.ALARM_POSITION, expected)
        return found

    async def write(
        self, states: Sequence[StoredAlarm], events: Sequence[AlarmEvent], advance: Advance | None = None
    ) -> WriteAnswer:
        """Replace states by their next ones and record the events and a log's new position, as one.

        Args:
            states: each with the version after the one that it was computed from.
            events: in their order.
            advance: of the log that brought the changes.
        """
        given: dict[str, Any] = {"states": [], "events": []}
        for stored in states:
            camera = stored.alarm.camera
            given["states"].append(
                {
                    "camera": camera,
                    "version": str(stored.version - 1),
                    "always": camera in self._limits.always,
                    "fields": [text for pair in to_fields(stored).items() for text in pair],
                }
            )
        for event in events:
            live = not event.shelved or event.change not in _ALERTING
            given["events"].append({"camera": event.camera, "json": encode_event(event), "live": live})
        if advance is not None:
            before = "" if advance.before is None else str(advance.before)
            given |= {"log": advance.log, "before": before, "after": str(advance.after)}
        keys = [self.keys.events, self.keys.cameras, self.keys.positions]
        keys += [self.keys.state(stored.alarm.camera) for stored in states]
        arguments = [str(self._config.events_kept), self.keys.channel, str(self._limits.max_cameras)]
        arguments.append(msgspec.json.encode(given).decode())
        word, *notes = await self._ask(lambda: self._write(keys=keys, args=arguments))
        refused = set()
        for kind, name in zip(notes[::2], notes[1::2], strict=True):
            if kind == "refused":
                refused.add(name)
            elif kind != Foreign.ALARM_STATE:  # of that one who read it has told
                self._observer.foreign(Foreign(kind), f"the Redis key {brief(name)} was of another type: removed")
        return WriteAnswer(Written(word), frozenset(refused))

    async def change(
        self, camera: str, changed: Callable[[Alarm], tuple[Alarm, tuple[AlarmEvent, ...]]]
    ) -> tuple[AlarmEvent, ...]:
        """Apply a change to whatever the alarm is now; nothing is written where nothing changes."""
        while True:
            before = await self.load(camera)
            alarm, events = changed(before.alarm)
            if not events:
                return ()
            answer = await self.write([StoredAlarm(alarm, before.version + 1, before.last)], events)
            if answer.written is Written.WRITTEN:
                return () if camera in answer.refused else events

    async def forget(self, camera: str, event: AlarmEvent) -> bool:
        """Remove a camera and its state, and record the event; False where there was none of that name."""
        keys = [self.keys.events, self.keys.cameras, self.keys.state(camera)]
        arguments = [str(self._config.events_kept), self.keys.channel, camera, encode_event(event)]
        return bool(await self._ask(lambda: self._forget(keys=keys, args=arguments)))

    async def request_acknowledgement(self, camera: str, operator: str) -> None:
        """Ask the workers to acknowledge, by the message that anyone may send."""
        fields = {"camera": camera, "operator": operator}
        await self._ask(lambda: self._redis.xadd(self.keys.acknowledgements, fields, maxlen=_REQUESTS_KEPT))

    async def live(self, subscribed: Callable[[], None] | None = None) -> AsyncGenerator[AlarmEvent, None]:
        """Every event as it is announced, from when `subscribed` is called; never ends."""
        async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
            await self._ask(lambda: channel.subscribe(self.keys.channel))
            if subscribed is not None:
                subscribed()
            while True:
                message = await self._ask(lambda: channel.get_message(timeout=self._config.timeout_s / 2))
                if message is None:
                    continue
                try:
                    event = decode_event(message["data"])
                except RecordError as error:
                    self._observer.foreign(Foreign.ALARM_EVENT, f"on {self.keys.channel}: {str(error)[:200]}")
                    continue
                yield event

    async def acknowledgements(self, group: str, consumer: str) -> AsyncIterator[tuple[str, dict[str, str]]]:
        """Messages of the acknowledgement stream for this member of the group, those not `done` first; never ends."""
        await self._join(group)
        # A member that dies leaves messages that it took and never finished: after a while they are claimed by others.
        arguments = [group, consumer, str(_CLAIMED_AFTER_MS), "10", str(MAX_NAME_CHARACTERS)]
        while True:
            taken = await self._ask(lambda: self._take(keys=[self.keys.acknowledgements], args=arguments))
            for message_id, flat in taken:
                yield message_id, _paired(flat)
            if not taken:
                await asyncio.sleep(_POLL_S)

    async def _join(self, group: str) -> None:
        def create() -> Any:
            return self._redis.xgroup_create(self.keys.acknowledgements, group, id="0", mkstream=True)

        try:
            await self._ask(create)
        except ForeignKeyError:
            await self._ask(lambda: self._redis.delete(self.keys.acknowledgements))
            removed = f"the Redis key {self.keys.acknowledgements} was no stream: removed"
            self._observer.foreign(Foreign.ACKNOWLEDGEMENT, removed)
            await self._ask(create)
        except SinkError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def done(self, group: str, message_id: str) -> None:
        """Remove an acknowledgement message that has been dealt with."""
        await self._ask(lambda: self._redis.xack(self.keys.acknowledgements, group, message_id))
        await self._ask(lambda: self._redis.xdel(self.keys.acknowledgements, message_id))

    def foreign(self, what: Foreign, detail: str) -> None:
        """Tell of something that is not ours, once: what is passed over is met again."""
        key = (what, detail)
        if key not in self._told:
            self._told[key] = None
            if len(self._told) > _TOLD:
                self._told.popitem(last=False)
            self._observer.foreign(what, detail)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()


def _paired(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=False))
