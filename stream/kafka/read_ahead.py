"""Frames of Kafka partitions that were fetched and wait to be taken, and which partition's turn it is.

`ReadAheads` is where the tasks of a source meet: what fetches frames, what takes partitions over or lets them go, and
whoever waits for the next frame. An error of the first two is raised to the last.

A turn lasts while a batch is filled: frames that arrive together are judged together, and a batch of few partitions has
few transactions. Turns are fair by what they took: next is the partition that has had least, counted from when it
last had something to give. A partition with a camera that goes first has a frame counted as a fraction, so it has
several turns for one of each other: it gets most of an engine that is short, and nobody starves.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from aiokafka import TopicPartition

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import CrashNotes
from patchline.stream.model.frame import Frame

_LONGEST_TURN_FRAMES = 64
_URGENT_WEIGHT = 4
"""Turns of a partition with an urgent camera for one of each other."""
_REMEMBERED_FRAMES = 32
"""A partition's cameras are those of this many frames taken last."""


class ReadAhead:
    """Frames of one partition, oldest first, within the bounds of the settings; and the partition's notes.

    Args:
        config: the bounds.
        notes: which frames to try alone.
        next_offset: the partition is read from here on.
    """

    def __init__(self, config: KafkaConfig, notes: CrashNotes, next_offset: int) -> None:
        self.notes = notes
        self.next_offset = next_offset
        """Where to read on: behind the last frame that was taken in."""
        self._max_frames, self._max_bytes = config.partition_buffer_frames, config.partition_buffer_bytes
        self._bytes = 0
        self._cameras: deque[str] = deque(maxlen=_REMEMBERED_FRAMES)
        self.frames: deque[Frame] = deque()
        self.had = 0.0
        """How many frames its turns took, each divided by the partition's weight."""

    @property
    def topic_id(self) -> str | None:
        """Which topic of that name the frames are of; None where the brokers tell no ids."""
        return None if self.notes.log is None else self.notes.log.topic

    @property
    def full(self) -> bool:
        """Whether the partition should not be read now."""
        return len(self.frames) >= self._max_frames or self._bytes >= self._max_bytes

    def push(self, frame: Frame, offset: int) -> None:
        """Take the next frame in, even beyond the bounds, since it has been fetched."""
        self.frames.append(frame)
        self.next_offset = offset + 1
        self._bytes += len(frame.payload or b"")

    def pop(self) -> Frame:
        """The oldest frame; IndexError where there is none."""
        frame = self.frames.popleft()
        self._bytes -= len(frame.payload or b"")
        self._cameras.append(frame.camera)
        return frame

    def has_any(self, cameras: Callable[[str], bool]) -> bool:
        """Whether a frame of such a camera was taken lately, or is next."""
        return any(map(cameras, {*self._cameras, *(frame.camera for frame in list(self.frames)[:1])}))


class ReadAheads:
    """The frames of all partitions that may be read, which are taken in turns.

    Args:
        urgent: whether a camera's frames go first.
    """

    def __init__(self, urgent: Callable[[str], bool] = lambda _: False) -> None:
        self._urgent = urgent
        self._all: dict[TopicPartition, ReadAhead] = {}
        """By partition, in the order of their last turns."""
        self._turn: TopicPartition | None = None
        self._left_of_turn = 0
        self._weight = 1
        """The weight of the partition whose turn it is."""
        self._had = 0.0
        """What that partition had when its turn began. All others count as having had it; none is owed more."""
        self._held: frozenset[TopicPartition] = frozenset()
        self._filled, self._changed = asyncio.Event(), asyncio.Event()
        self._asked = False
        self._fetching: asyncio.Timeout | None = None
        self._failure: BaseException | None = None

    @property
    def asked(self) -> bool:
        """Whether somebody waits for a frame."""
        return self._asked

    async def take(self) -> Frame:
        """The frame whose turn it is, as soon as there is one. Raises what `fail` was given."""
        while True:
            if self._failure is not None:
                raise self._failure
            if (frame := self.pop()) is not None:
                self._changed.set()
                return frame
            self._filled.clear()
            self._asked = True
            self._changed.set()
            await self._filled.wait()
            self._asked = False

    def tell_filled(self) -> None:
        """Wake whoever waits for a frame: some were pushed."""
        self._filled.set()

    def expect_change(self) -> None:
        """Let `until_changed` wait only for what comes from now on."""
        self._changed.clear()

    async def until_changed(self, seconds: float) -> None:
        """Wait until a frame was taken or is asked for, or one more partition may be read; no longer than `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    @asynccontextmanager
    async def until_more_partitions(self) -> AsyncIterator[None]:
        """End what is awaited inside early, as if it had been done, when one more partition may be read."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as self._fetching:
                try:
                    yield
                finally:
                    self._fetching = None

    def fail(self, error: BaseException) -> None:
        """Let whoever waits for a frame have the error."""
        self._failure = error
        self._filled.set()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Give what is raised inside to `fail`: nobody awaits the tasks, and aiokafka only logs errors of callbacks."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    def get(self, partition: TopicPartition) -> ReadAhead | None:
        """What was read ahead of a partition; None where it may not be read."""
        return self._all.get(partition)

    def read_to(self, partition: TopicPartition) -> int | None:
        """The offset behind the last frame of a partition that was taken in; None where it may not be read."""
        return None if (frames := self.get(partition)) is None else frames.next_offset

    def add(self, partition: TopicPartition, frames: ReadAhead) -> None:
        """Let a partition be read."""
        self._all[partition] = frames
        self._changed.set()
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.reschedule(asyncio.get_running_loop().time())

    def drop(self, partition: TopicPartition) -> None:
        """Let a partition be read no more, and forget what waits of it."""
        self._all.pop(partition, None)
        if self._turn == partition:
            self._turn = None

    def hold(self, partitions: frozenset[TopicPartition]) -> None:
        """Give no frames of these, and again those of all others."""
        if partitions != self._held:
            self._held = partitions
            self._filled.set()
            self._changed.set()

    def end_turn(self) -> None:
        """End the turn, since the next frame begins a batch."""
        self._turn = None

    def pop(self) -> Frame | None:
        """The frame whose turn it is; None where none waits."""
        goes_on = self._turn is not None and self._turn not in self._held and self._left_of_turn
        frames = self._all[self._turn] if self._turn is not None and goes_on else None
        if frames is None or not frames.frames:
            if (turn := self._next()) is None:
                return None
            frames = self._begin_turn(turn)
        self._left_of_turn -= 1
        frames.had += 1 / self._weight
        return frames.pop()

    def _next(self) -> TopicPartition | None:
        waiting = [
            partition for partition, frames in self._all.items() if frames.frames and partition not in self._held
        ]
        return min(waiting, key=self._has_had, default=None)

    def _has_had(self, partition: TopicPartition) -> float:
        return max(self._all[partition].had, self._had)

    def _begin_turn(self, partition: TopicPartition) -> ReadAhead:
        frames = self._all.pop(partition)
        self._all[partition] = frames
        self._had = frames.had = max(frames.had, self._had)
        self._turn, self._left_of_turn = partition, _LONGEST_TURN_FRAMES
        self._weight = _URGENT_WEIGHT if frames.has_any(self._urgent) else 1
        return frames

    def in_turn(self) -> list[TopicPartition]:
        """The partitions in the order in which `pop` would look at them, were there frames of all."""
        order = sorted((partition for partition in self._all if partition not in self._held), key=self._has_had)
        if self._turn in order and self._left_of_turn:
            order.remove(self._turn)
            order.insert(0, self._turn)
        return order

    @property
    def has_next(self) -> bool:
        """Whether `pop` would give a frame."""
        return self._next() is not None

    @property
    def waiting(self) -> int:
        """How many frames wait."""
        return sum(len(frames.frames) for frames in self._all.values())

    def __contains__(self, partition: object) -> bool:
        return partition in self._all

    def __iter__(self) -> Iterator[tuple[TopicPartition, ReadAhead]]:
        return iter(self._all.items())

    def __len__(self) -> int:
        return len(self._all)
