"""From runs of a log's results to alarms in Redis, each result once.

A run and the position behind it are written as one, and only if Redis stands where the run begins. A frame whose result
is there twice (delivery at least once) is recognised by its own position, or its id where it has none, and counts once
as well.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import UTC, datetime

from patchline.stream.alarms.config import AlarmLimits
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.alarms.written import Advance, Written
from patchline.stream.model.alarm import AlarmEvent, AlarmRules, AlarmState, Observation, observe
from patchline.stream.model.clock import AHEAD, is_ahead, not_ahead
from patchline.stream.model.errors import AlarmGap, SinkUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.wire.alarms import StoredAlarm

_RECENT = 1000
"""How many ids of frames without a position are remembered: more than one delivery holds, for it may be made again."""


class AlarmApplier:
    """Applies the results of one log, run by run.

    Args:
        log: the name under which Redis keeps its position.
        store: where alarms live.
        rules: k, n and m of each camera.
        limits: how many cameras are remembered.
        observer: told of every change that this worker has written, and of the states it knows.
    """

    def __init__(self, log: str, store: AlarmStore, rules: AlarmRules, limits: AlarmLimits, observer: Observer) -> None:
        self.log = log
        self.seen: dict[str, AlarmState] = {}
        """The cameras whose state this worker has told, and the state."""
        self._store, self._rules, self._observer = store, rules, observer
        self._most = limits.max_cameras + len(limits.always)
        self._known: dict[str, StoredAlarm] = {}
        """What Redis has, as far as this worker knows."""
        self._written: OrderedDict[str, StoredAlarm] = OrderedDict()
        self._written_up_to: int | None = None
        """What this worker has written, and up to where: it outlives a Redis that loses everything."""
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._unsure: tuple[Advance, Sequence[AlarmEvent]] | None = None

    async def position(self, *, restores: bool = False) -> int | None:
        """The position up to which (exclusive) Redis has taken the log into account.

        The applier also forgets what it knows of the alarms, since whoever asks begins anew with what Redis has.
        Where Redis has nothing any more and `restores` is set, because the log cannot bring it back, what this worker
        has written is written again.
        """
        found = await self._store.position(self.log)
        if found is None and restores and self._written_up_to is not None:
            advance = Advance(self.log, None, self._written_up_to)
            states = [StoredAlarm(stored.alarm, 1, stored.last) for stored in self._written.values()]
            answer = await self._store.write(states, [], advance)
            found = self._written_up_to if answer.written is Written.WRITTEN else await self._store.position(self.log)
        self._known.clear()
        self._recent.clear()
        return found

    async def stands_at(self, position: int | None) -> bool:
        """Whether Redis stands where this worker believes it does."""
        return await self._store.position(self.log) == position

    async def look_at_states(self) -> None:
        """Learn, and tell, what others changed of the alarms that this worker has told."""
        if self.seen:
            here = set(await self._store.cameras())
            for camera in [camera for camera in self.seen if camera not in here]:
                self._forget(camera)
        active = [camera for camera, state in self.seen.items() if state is not AlarmState.NORMAL]
        for stored in await self._store.load_all(active) if active else ():
            self._tell(stored.alarm.camera, stored.alarm.state)

    def leave(self) -> None:
        """Take back what was told of states: another worker tells from now on."""
        for camera in self.seen:
            self._observer.alarm_state(camera, None)
        self.seen.clear()

    async def apply(self, run: Sequence[Observation], before: int | None, after: int) -> bool:
        """Take the results between two positions of the log into account.

        Returns:
            Whether that is done. False: Redis stands somewhere else, because another worker goes on with the log or
            Redis came back with other data, and nothing was written.

        Raises:
            SinkUnavailableError: Redis is away. The run may have been written before the answer was lost; the same call
                finds out.
        """
        advance = Advance(self.log, before, after)
        while True:
            states, events = await self._computed(run)
            try:
                answer = await self._store.write(states, events, advance)
            except SinkUnavailableError:
                self._known.clear()
                if self._unsure is None or self._unsure[0] != advance:
                    self._unsure = (advance, events)
                raise
            written, refused = answer.written, answer.refused
            if written is Written.WRITTEN:
                self._know([stored for stored in states if stored.alarm.camera not in refused], after)
            else:
                self._known.clear()
            if written is Written.MOVED:
                unsure = self._unsure
                if unsure is None or unsure[0] != advance or await self._store.position(self.log) != after:
                    self._unsure = None
                    return False
                events = list(unsure[1])  # an earlier attempt was carried out, only its answer was lost
            if written is not Written.CHANGED:
                self._unsure = None
                self._recent += [seen.frame_id for seen in run if seen.position is None]
                self._tell_written(run, refused, events)
                return True

    async def _computed(self, run: Sequence[Observation]) -> tuple[list[StoredAlarm], list[AlarmEvent]]:
        """The states after a run, of the cameras that it changes, and the events in the run's order."""
        states: dict[str, StoredAlarm] = {}
        changed: set[str] = set()
        events: list[AlarmEvent] = []
        recent = set(self._recent)
        cameras = list(dict.fromkeys(seen.camera for seen in run))
        new = [camera for camera in cameras if camera not in self._known]
        self._known |= {stored.alarm.camera: stored for stored in (await self._store.load_all(new) if new else ())}
        for camera in cameras:
            before = self._known[camera]
            states[camera] = StoredAlarm(before.alarm, before.version + 1, before.last)
        for seen in run:
            before = states[seen.camera]
            if is_known(seen, before.last) or (seen.position is None and seen.frame_id in recent):
                continue
            recent.add(seen.frame_id)
            alarm, changes = observe(before.alarm, seen, self._rules.of(seen.camera, seen.recipe))
            states[seen.camera] = StoredAlarm(alarm, before.version, mark(seen, before.last))
            changed.add(seen.camera)
            events += changes
        return [states[camera] for camera in states if camera in changed], events

    def _know(self, states: Sequence[StoredAlarm], after: int) -> None:
        self._written_up_to = after
        for stored in states:
            camera = stored.alarm.camera
            self._known[camera] = self._written[camera] = stored
            self._written.move_to_end(camera)
        while len(self._written) > self._most:
            self._written.popitem(last=False)

    def _tell_written(self, run: Sequence[Observation], refused: frozenset[str], events: Sequence[AlarmEvent]) -> None:
        """Tell of a run that Redis has, and keep no more in memory than there may be in Redis."""
        told = [event for event in events if event.camera not in refused]
        begun = {event.camera for event in told}
        for camera in dict.fromkeys(seen.camera for seen in run):
            stored = self._known.get(camera)
            if camera in refused or stored is None:
                self._known.pop(camera, None)
            elif camera not in self.seen or camera not in begun:
                self._tell(camera, AlarmState.NORMAL if camera in begun else stored.alarm.state)
        for event in told:
            self.seen[event.camera] = event.state
            self._observer.alarm(event)
        if too_many := sum(seen.camera in refused for seen in run):
            self._observer.alarm_gap(AlarmGap.TOO_MANY_CAMERAS, too_many)
        if len(self._known) > self._most:
            self._known.clear()

    def _tell(self, camera: str, state: AlarmState) -> None:
        if self.seen.get(camera) is not state:
            self.seen[camera] = state
            self._observer.alarm_state(camera, state)

    def _forget(self, camera: str) -> None:
        del self.seen[camera]
        self._known.pop(camera, None)
        self._written.pop(camera, None)
        self._observer.alarm_state(camera, None)


def mark(seen: Observation, before: str) -> str:
    """What the store notes of the last frame taken into account: its position and the latest time, or its id.

    A time that lies ahead of every clock is not kept: it would stay the latest for years.
    """
    if seen.position is None:
        return seen.frame_id
    now = datetime.now(UTC)
    time = not_ahead(seen.time, now).timestamp()
    if (known := _parse(before, now)) is not None:
        time = max(time, known[3])
    topic_id = "" if seen.position.topic_id is None else f"|{seen.position.topic_id}"
    return f"{seen.position.topic}|{seen.position.partition}|{seen.position.offset}|{time}{topic_id}"


def is_known(seen: Observation, last: str) -> bool:
    """Whether a frame was taken into account before, given the last one that was.

    A frame is known by its offset, unless its topic has another id, or it was taken later than all that are known: then
    the topic was made anew, or its log cut short. A time that lies ahead of every clock says nothing of that.
    """
    if seen.position is None:
        return seen.frame_id == last
    now = datetime.now(UTC)
    known = _parse(last, now)
    if known is None:
        return False
    topic, partition, offset, time, topic_id = known
    if None not in (topic_id, seen.position.topic_id) and topic_id != seen.position.topic_id:
        return False
    return (
        (seen.position.topic, seen.position.partition) == (topic, partition)
        and seen.position.offset <= offset
        and (seen.time.timestamp() <= time or is_ahead(seen.time, now))
    )


def _parse(text: str, now: datetime) -> tuple[str, int, int, float, str | None] | None:
    parts = text.split("|")
    if len(parts) not in (4, 5):
        return None
    topic_id = parts[4] if len(parts) == 5 else None
    try:
        time = float(parts[3])
        # What an earlier release or somebody else wrote there may lie ahead: nothing is known by it.
        is_ahead_of_all = not time <= (now + AHEAD).timestamp()
        return None if is_ahead_of_all else (parts[0], int(parts[1]), int(parts[2]), time, topic_id)
    except ValueError:
        return None
