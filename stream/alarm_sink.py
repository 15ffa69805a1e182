"""Outcomes into alarms.

Judged frames go through an outbox to Redis, in order, by one task. While Redis is there a delivery returns when its
alarms are written. While it is away a delivery waits for a short time and then lets the results go on: the frames
stay in the outbox, in order, and are applied when Redis is back. Only a full outbox holds results for longer.

A frame read again after a crash is recognised by its position and counts once.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

from engine.inspection import Verdict
from stream.alarm_store import AlarmStore, StoredAlarm
from stream.alarms import Alarm, AlarmEvent, Observation, acknowledge, observe
from stream.config import AlarmConfig, RedisConfig
from stream.errors import SinkUnavailableError
from stream.frame import Position
from stream.observer import NullObserver, Observer
from stream.outcome import Outcome
from stream.retry import persist

_GROUP = "patchline"
_BATCH = 500
"""Frames of the outbox written before they leave it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    observation: Observation
    position: Position | None


@dataclass(frozen=True, slots=True)
class _Unsure:
    """A write whose answer was lost."""

    mark: str
    events: Sequence[AlarmEvent]


class AlarmSink:
    """Raises, returns and clears the alarms of the cameras whose outcomes it is given, and serves acknowledgements.

    Args:
        redis: where alarms live.
        alarms: k, n and m for all cameras.
        cameras: k, n and m of single cameras.
        observer: told of every change this worker has written.
    """

    def __init__(
        self,
        redis: RedisConfig,
        alarms: AlarmConfig,
        *,
        cameras: Mapping[str, AlarmConfig] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._config = redis
        self._alarms = alarms
        self._cameras = cameras or {}
        self._observer = observer or NullObserver()
        self._store = AlarmStore(redis)
        self._stored: dict[str, StoredAlarm] = {}
        self._unsure: _Unsure | None = None
        self._outbox: deque[_Seen] = deque()
        self._put = self._written = 0
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: Exception | None = None

    @property
    def name(self) -> str:
        """Names the server."""
        return f"Redis alarms ({self._store.where})"

    async def open(self) -> None:
        """Start the writer and the reader of acknowledgements; Redis may come later."""
        self._tasks = [asyncio.create_task(self._watched(loop())) for loop in (self._write, self._acknowledge)]

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Take judged frames. See the module for what happens while Redis is away.

        Raises:
            SinkUnavailableError: Redis is away and the outbox is full.
            SinkError: Redis refuses.
        """
        if self._failure is not None:
            raise self._failure
        # A frame that was not inspected says nothing to an alarm.
        seen = [_seen(outcome) for outcome in outcomes if outcome.result.verdict is not Verdict.NOT_INSPECTED]
        if not seen:
            return
        if self._outbox and len(self._outbox) + len(seen) > self._config.outbox_size:
            raise SinkUnavailableError(f"{len(self._outbox):,} judged frames wait for Redis at {self._store.where}")
        async with self._changed:
            self._outbox.extend(seen)
            self._put += len(seen)
            mine = self._put
            self._changed.notify_all()
            self._observer.queue_depth("alarm_outbox", len(self._outbox))
            try:
                async with asyncio.timeout(self._config.timeout_s):
                    await self._changed.wait_for(lambda: self._written >= mine or self._failure is not None)
            except TimeoutError:
                return
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Write what is left, within the timeout, and disconnect."""
        async with self._changed:
            try:
                async with asyncio.timeout(self._config.timeout_s):
                    await self._changed.wait_for(lambda: not self._outbox or self._failure is not None)
            except TimeoutError:
                self._observer.retrying(self.name, SinkUnavailableError(f"{len(self._outbox)} frames not written"), 1)
        pending = set(self._tasks)
        while pending:  # redis-py swallows a cancellation that comes while it connects
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)
        await self._store.close()

    async def _write(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._outbox))
            batch = list(islice(self._outbox, _BATCH))
            by_camera: dict[str, list[_Seen]] = {}
            for seen in batch:
                by_camera.setdefault(seen.observation.camera, []).append(seen)
            for camera, run in by_camera.items():
                await persist(self.name, partial(self._apply, camera, run), self._observer)
            async with self._changed:
                for _ in batch:
                    self._outbox.popleft()
                self._written += len(batch)
                self._observer.queue_depth("alarm_outbox", len(self._outbox))
                self._changed.notify_all()

    async def _apply(self, camera: str, run: Sequence[_Seen]) -> None:
        config = self._cameras.get(camera, self._alarms)
        while True:
            before = self._stored.get(camera) or await self._store.load(camera)
            if self._unsure is not None and self._unsure.mark == before.last:
                self._tell(self._unsure.events)
            self._unsure = None
            alarm, last, events = before.alarm, before.last, list[AlarmEvent]()
            for seen in unknown_of(run, before.last):
                alarm, changes = observe(alarm, seen.observation, config)
                events += changes
                last = mark(seen, last)
            if last == before.last:
                self._stored[camera] = before
                return
            self._stored.pop(camera, None)
            try:
                after = await self._store.write(before, alarm, last, events)
            except SinkUnavailableError:
                # It may have been written before the answer was lost. The next attempt looks at Redis again.
                self._unsure = _Unsure(last, events)
                raise
            if after is not None:
                self._stored[camera] = after
                self._tell(events)
                return

    def _tell(self, events: Sequence[AlarmEvent]) -> None:
        for event in events:
            self._observer.alarm(event)

    async def _acknowledge(self) -> None:
        consumer = uuid.uuid4().hex
        while True:
            await persist(f"{self.name}, acknowledgements", lambda: self._serve(consumer), self._observer)

    async def _serve(self, consumer: str) -> None:
        async for message_id, fields in self._store.acknowledgements(_GROUP, consumer):
            camera, operator = fields.get("camera"), fields.get("operator")
            if camera and operator:
                self._tell(await acknowledge_alarm(self._store, camera, operator))
            await self._store.done(_GROUP, message_id)

    async def _watched(self, loop: Coroutine[Any, Any, None]) -> None:
        try:
            await loop
        except Exception as error:  # the next delivery raises it: nobody awaits this task before close
            async with self._changed:
                self._failure = error
                self._changed.notify_all()


async def acknowledge_alarm(store: AlarmStore, camera: str, operator: str) -> tuple[AlarmEvent, ...]:
    """Acknowledge a camera's alarm now; no events where there was nothing to acknowledge."""

    def changed(alarm: Alarm) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
        return acknowledge(alarm, operator, datetime.now(UTC))

    return await store.change(camera, changed)


def mark(seen: _Seen, before: str) -> str:
    """What the store notes of the last frame taken into account: its position and the latest time, or its id."""
    if seen.position is None:
        return seen.observation.frame_id
    time = seen.observation.time.timestamp()
    if (known := _parse(before)) is not None:
        time = max(time, known[3])
    return f"{seen.position.topic}|{seen.position.partition}|{seen.position.offset}|{time}"


def unknown_of(run: Sequence[_Seen], last: str) -> Sequence[_Seen]:
    """The frames of a run that come after the last one taken into account.

    A frame is known by its offset, unless it was taken later than all that are known: then the topic was made anew.
    """
    known = _parse(last)
    if known is None:
        ids = [seen.observation.frame_id for seen in run]
        return run[ids.index(last) + 1 :] if last in ids else run
    topic, partition, offset, time = known
    return [
        seen
        for seen in run
        if seen.position is None
        or (seen.position.topic, seen.position.partition) != (topic, partition)
        or seen.position.offset > offset
        or seen.observation.time.timestamp() > time
    ]


def _parse(text: str) -> tuple[str, int, int, float] | None:
    parts = text.split("|")
    if len(parts) != 4:
        return None
    try:
        return parts[0], int(parts[1]), int(parts[2]), float(parts[3])
    except ValueError:
        return None


def _seen(outcome: Outcome) -> _Seen:
    result = outcome.result
    observation = Observation(
        camera=result.camera,
        frame_id=result.frame_id,
        verdict=result.verdict,
        time=result.time,
        recipe=result.recipe,
        score=result.score,
    )
    return _Seen(observation, outcome.frame.position)
