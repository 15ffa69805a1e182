"""Frames of Kafka partitions that were fetched and wait to be taken."""

from collections import deque
from collections.abc import Iterator

from aiokafka import TopicPartition

from stream.config import KafkaConfig
from stream.frame import Frame
from stream.in_flight_notes import InFlightNotes

_TURN_FRAMES = 8


class ReadAhead:
    """Frames of one partition, oldest first, within the bounds of the settings; and the partition's notes.

    Args:
        config: the bounds.
        notes: which frames to try alone.
        next_offset: the partition is read from here on.
    """

    def __init__(self, config: KafkaConfig, notes: InFlightNotes, next_offset: int) -> None:
        self.notes = notes
        self.next_offset = next_offset
        """Where to read on: behind the last frame that was taken in."""
        self._max_frames, self._max_bytes = config.partition_buffer_frames, config.partition_buffer_bytes
        self._bytes = 0
        self.frames: deque[Frame] = deque()

    @property
    def full(self) -> bool:
        """Whether the partition should not be read now."""
        return len(self.frames) >= self._max_frames or self._bytes >= self._max_bytes

    def push(self, frame: Frame, offset: int) -> None:
        """Take the next frame, also beyond the bounds: it has been fetched."""
        self.frames.append(frame)
        self.next_offset = offset + 1
        self._bytes += len(frame.payload or b"")

    def pop(self) -> Frame:
        """The oldest frame; IndexError where there is none."""
        frame = self.frames.popleft()
        self._bytes -= len(frame.payload or b"")
        return frame


class ReadAheads:
    """Those of all partitions that may be read, taken from in turns of a few frames.

    Frames that arrive together are judged together: a batch then has few partitions, and few transactions.
    """

    def __init__(self) -> None:
        self._all: dict[TopicPartition, ReadAhead] = {}
        self._turns: deque[TopicPartition] = deque()
        self._left_of_turn = 0

    def get(self, partition: TopicPartition) -> ReadAhead | None:
        """A partition's; None where it may not be read."""
        return self._all.get(partition)

    def add(self, partition: TopicPartition, frames: ReadAhead) -> None:
        """The partition may be read."""
        self._all[partition] = frames
        self._turns.append(partition)

    def drop(self, partition: TopicPartition) -> None:
        """The partition may not be read any more; what waits is forgotten."""
        if self._all.pop(partition, None) is not None:
            self._turns.remove(partition)

    def pop(self) -> Frame | None:
        """The frame whose turn it is; None where none waits."""
        for _ in range(len(self._turns) + 1 if self._turns else 0):
            frames = self._all[self._turns[-1]]
            if self._left_of_turn and frames.frames:
                self._left_of_turn -= 1
                return frames.pop()
            self._turns.rotate(-1)
            self._left_of_turn = _TURN_FRAMES
        return None

    def in_turn(self) -> list[TopicPartition]:
        """The partitions in the order in which `pop` would look at them."""
        order = list(self._turns)
        return [order[-1], *order[:-1]] if order and self._left_of_turn else order

    @property
    def waiting(self) -> int:
        """Frames that wait."""
        return sum(len(frames.frames) for frames in self._all.values())

    def __contains__(self, partition: object) -> bool:
        return partition in self._all

    def __iter__(self) -> Iterator[tuple[TopicPartition, ReadAhead]]:
        return iter(self._all.items())

    def __len__(self) -> int:
        return len(self._all)
