"""From runs of a log's results to alarms in Redis, each result once.

A run and the position behind it are written as one, and only if Redis stands where the run begins. A frame whose result
is there twice (delivery at least once) is recognised by its own position, or its id where it has none, and counts once
as well.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from patchline.stream.alarms.store import Advance, AlarmStore, Written
from patchline.stream.model.alarm import AlarmConfig, AlarmEvent, Observation, observe
from patchline.stream.model.errors import SinkUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.wire.alarms import StoredAlarm

_RECENT = 1000
"""How many ids of frames without a position are remembered: more than one delivery holds, for it may be made again."""


class AlarmApplier:
    """Applies the results of one log, run by run.

    Args:
        log: the name under which Redis keeps its position.
        store: where alarms live.
        alarms: k, n and m for all cameras.
        cameras: k, n and m of single cameras.
        observer: told of every change that this worker has written, and of the states it knows.
    """

    def __init__(
        self,
        log: str,
        store: AlarmStore,
        alarms: AlarmConfig,
        cameras: Mapping[str, AlarmConfig],
        observer: Observer,
    ) -> None:
        self.log = log
        self.seen: set[str] = set()
        """The cameras whose state this worker has told."""
        self._store, self._alarms, self._cameras, self._observer = store, alarms, cameras, observer
        self._known: dict[str, StoredAlarm] = {}
        self._recent: deque[str] = deque(maxlen=_RECENT)
        self._unsure: tuple[Advance, Sequence[AlarmEvent]] | None = None

    async def position(self) -> int | None:
        """The position up to which (exclusive) Redis has taken the log into account.

        The applier also forgets what it knows of the alarms, since whoever asks begins anew with what Redis has.
        """
        self._known.clear()
        self._recent.clear()
        return await self._store.position(self.log)

    async def apply(self, run: Sequence[Observation], before: int | None, after: int) -> bool:
        """Take the results between two positions of the log into account.

        Returns:
            Whether that is done. False: Redis stands somewhere else, because another worker goes on with the log or
            Redis came back with other data, and nothing was written.

        Raises:
            SinkUnavailableError: Redis is away. The run may have been written before the answer was lost; the same call
                finds out.
            SinkError: Redis refuses.
        """
        advance = Advance(self.log, before, after)
        while True:
            states, events = await self._computed(run)
            try:
                written = await self._store.write(states, events, advance)
            except SinkUnavailableError:
                self._known.clear()
                if self._unsure is None or self._unsure[0] != advance:
                    self._unsure = (advance, events)
                raise
            if written is Written.WRITTEN:
                self._known |= {stored.alarm.camera: stored for stored in states}
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
                for event in events:
                    self._observer.alarm(event)
                return True

    async def _computed(self, run: Sequence[Observation]) -> tuple[list[StoredAlarm], list[AlarmEvent]]:
        """The states after a run, of the cameras that it changes, and the events in the run's order."""
        states: dict[str, StoredAlarm] = {}
        changed: set[str] = set()
        events: list[AlarmEvent] = []
        recent = set(self._recent)
        for camera in dict.fromkeys(seen.camera for seen in run):
            if camera not in self._known:
                self._known[camera] = await self._store.load(camera)
                self.seen.add(camera)
                self._observer.alarm_state(camera, self._known[camera].alarm.state)
            before = self._known[camera]
            states[camera] = StoredAlarm(before.alarm, before.version + 1, before.last)
        for seen in run:
            before = states[seen.camera]
            if is_known(seen, before.last) or (seen.position is None and seen.frame_id in recent):
                continue
            recent.add(seen.frame_id)
            alarm, changes = observe(before.alarm, seen, self._cameras.get(seen.camera, self._alarms))
            states[seen.camera] = StoredAlarm(alarm, before.version, mark(seen, before.last))
            changed.add(seen.camera)
            events += changes
        return [states[camera] for camera in states if camera in changed], events


def mark(seen: Observation, before: str) -> str:
    """What the store notes of the last frame taken into account: its position and the latest time, or its id."""
    if seen.position is None:
        return seen.frame_id
    time = seen.time.timestamp()
    if (known := _parse(before)) is not None:
        time = max(time, known[3])
    return f"{seen.position.topic}|{seen.position.partition}|{seen.position.offset}|{time}"


def is_known(seen: Observation, last: str) -> bool:
    """Whether a frame was taken into account before, given the last one that was.

    A frame is known by its offset, unless it was taken later than all that are known: then the topic was made anew.
    """
    if seen.position is None:
        return seen.frame_id == last
    known = _parse(last)
    if known is None:
        return False
    topic, partition, offset, time = known
    return (
        (seen.position.topic, seen.position.partition) == (topic, partition)
        and seen.position.offset <= offset
        and seen.time.timestamp() <= time
    )


def _parse(text: str) -> tuple[str, int, int, float] | None:
    parts = text.split("|")
    if len(parts) != 4:
        return None
    try:
        return parts[0], int(parts[1]), int(parts[2]), float(parts[3])
    except ValueError:
        return None
