"""Outcomes leave a lane in the order of its frames, and the lane's position goes out with them.

A lane is a partition of a topic, or a camera that cannot be replayed. Frames of a lane are decoded and judged in any
order. A frame is settled when its outcome is known; outcomes are flushed in the order of arrival, and a lane's position
never passes a frame that is not flushed. So whatever flushes a lane holds exactly the results that its new position
covers, and can commit both as one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic

from patchline.stream.model.errors import LaneLostError
from patchline.stream.model.frame import Frame, LaneKey, Position, lane_of
from patchline.stream.model.outcome import Outcome


@dataclass(slots=True, eq=False)
class LaneEntry:
    """A frame in flight, in its lane."""

    lane: "Lane"
    position: Position | None
    outcome: Outcome | None = None


class Lane:
    """Frames of one lane in the order of arrival; pure bookkeeping."""

    def __init__(self, key: LaneKey) -> None:
        self.key = key
        self.abandoned = False
        self.flushing = asyncio.Lock()
        self.flush_due = False
        """Whether somebody waits to flush what is settled until then."""
        self.flush_scope: asyncio.Timeout | None = None
        """The time-out of the flush under way; it expires when the lane is abandoned."""
        self.flush_from_s = 0.0
        """When the next flush may begin, by `time.monotonic`."""
        self.settled = 0
        """Outcomes that no flush has taken."""
        self.enough = asyncio.Event()
        """Whether the next flush need not wait."""
        self.empty = asyncio.Event()
        self.empty.set()
        self.watermark: Position | None = None
        """The last position flushed: everything up to and with it is done."""
        self._entries: deque[LaneEntry] = deque()
        self._taken = 0
        self._moved = asyncio.Event()
        self._scopes: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def while_held(self) -> AsyncIterator[None]:
        """End what is awaited inside once the lane is abandoned: its frames wait for nothing any more.

        Raises:
            LaneLostError: it was abandoned.
        """
        try:
            async with asyncio.timeout(None) as scope:
                self._scopes.add(scope)
                try:
                    yield
                finally:
                    self._scopes.discard(scope)
        except TimeoutError:
            if not self.abandoned:
                raise
            raise LaneLostError("the frame's partition was given up") from None

    def abandon(self) -> None:
        """Let nothing of the lane be awaited any longer, nor flushed."""
        self.abandoned = True
        for scope in (*self._scopes, *((self.flush_scope,) if self.flush_scope is not None else ())):
            scope.reschedule(asyncio.get_running_loop().time())

    def arrive(self, position: Position | None) -> LaneEntry:
        """Note a frame as in flight. Call it in the order of the source."""
        entry = LaneEntry(self, position)
        self._entries.append(entry)
        self.empty.clear()
        return entry

    @property
    def open(self) -> int:
        """Frames in flight."""
        return len(self._entries)

    async def until_first(self, entry: LaneEntry) -> None:
        """Wait until everything that arrived before an entry has left."""
        while self._entries[0] is not entry:
            self._moved.clear()
            await self._moved.wait()

    def take_ready(self) -> list[Outcome]:
        """The outcomes from the oldest frame up to the first that is still open. They stay until `leave`."""
        ready: list[Outcome] = []
        for entry in self._entries:
            if entry.outcome is None:
                break
            ready.append(entry.outcome)
        self._taken = len(ready)
        return ready

    def leave(self) -> None:
        """What `take_ready` gave last is durable, or abandoned: the watermark moves behind it."""
        for _ in range(self._taken):
            entry = self._entries.popleft()
            self.watermark = entry.position or self.watermark
        self._taken = 0
        self._moved.set()
        if not self._entries:
            self.empty.set()


@dataclass(slots=True)
class Checkpoint:
    """All lanes, and how one is flushed.

    Args:
        flush: makes outcomes durable, and with them the position of the last one; when it returns they are. It is
            called in a lane's order, one call at a time for a lane and several lanes at once: while it waits, the
            lane's next outcomes collect. Where it raises LaneLostError the lane is abandoned.
        on_leave: told of every outcome that is no longer in flight, flushed or abandoned.
        interval_s: a flush of a lane with positions begins so long after the last one, unless `at_once` says otherwise.
        at_once: when so many outcomes have come, or nothing else of the lane is in flight, a flush begins at once.
    """

    flush: Callable[[Sequence[Outcome]], Awaitable[None]]
    on_leave: Callable[[Outcome], None]
    interval_s: float = 0.0
    at_once: int = 1
    _lanes: dict[LaneKey, Lane] = field(default_factory=dict)

    def arrive(self, frame: Frame) -> LaneEntry:
        """Note a frame as in flight, in the order of its source."""
        key = lane_of(frame)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        return lane.arrive(frame.position)

    async def settle(self, entry: LaneEntry, outcome: Outcome, *, until_left: bool = False) -> None:
        """Hand in a frame's outcome, and flush its lane as far as it is complete.

        It returns at once where another call will flush this outcome too: the one that settles the oldest open frame,
        or one that waits for the flush under way to end. An outcome of an abandoned lane goes nowhere.

        Args:
            entry: what `arrive` gave for the frame.
            outcome: the frame's outcome.
            until_left: return only once a flush has run, without a pause before it.
        """
        entry.outcome = outcome
        lane = entry.lane
        lane.settled += 1
        if self._suffices(lane):
            lane.enough.set()
        if lane.flush_due and not until_left:
            return
        lane.flush_due = True
        async with lane.flushing:
            try:
                if entry.position is not None and not until_left:
                    await self._pause(lane)
                await asyncio.sleep(0)  # the rest of the batch settles in this iteration of the loop, and goes with it
            finally:
                lane.flush_due = False
            lane.enough.clear()
            ready = lane.take_ready()
            if not ready:  # the oldest frame is open still: whoever settles it need not wait for this one
                return
            lane.flush_from_s = monotonic() + self.interval_s
            lane.settled -= len(ready)
            try:
                async with asyncio.timeout(None) as lane.flush_scope:
                    if not lane.abandoned:
                        await self.flush(ready)
            except TimeoutError:
                if not lane.abandoned:
                    raise
            except LaneLostError:
                lane.abandoned = True  # until it is released, and given out anew
            finally:
                lane.flush_scope = None
            lane.leave()
            for left in ready:
                self.on_leave(left)

    async def _pause(self, lane: Lane) -> None:
        """Wait until a lane's next flush may begin."""
        if (left_s := lane.flush_from_s - monotonic()) > 0 and not self._suffices(lane):
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await lane.enough.wait()

    def _suffices(self, lane: Lane) -> bool:
        return lane.settled >= self.at_once or lane.settled >= lane.open

    @property
    def lanes(self) -> Collection[Lane]:
        """The lanes this worker holds."""
        return self._lanes.values()

    async def release(self, keys: Collection[LaneKey], timeout_s: float) -> list[LaneKey]:
        """Let lanes go that now belong to another worker.

        Their frames in flight have `timeout_s` to be flushed; what is not by then is abandoned: no result, no commit.

        Returns:
            The lanes that were abandoned.
        """
        lanes = [lane for key in keys if (lane := self._lanes.pop(key, None)) is not None]
        try:
            async with asyncio.timeout(timeout_s):
                for lane in lanes:
                    await lane.empty.wait()
        except TimeoutError:
            pass
        for lane in lanes:
            if lane.abandoned or not lane.empty.is_set():
                lane.abandon()
        return [lane.key for lane in lanes if lane.abandoned]
