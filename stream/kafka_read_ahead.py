"""Frames of a Kafka partition that were fetched and wait to be taken."""

from collections import deque

from stream.config import KafkaConfig
from stream.frame import Frame
from stream.in_flight_notes import InFlightNotes


class ReadAhead:
    """Frames of one partition, oldest first, within the bounds of the settings; and the partition's notes."""

    def __init__(self, config: KafkaConfig, notes: InFlightNotes) -> None:
        self.notes = notes
        self._max_frames, self._max_bytes = config.partition_buffer_frames, config.partition_buffer_bytes
        self._bytes = 0
        self.frames: deque[Frame] = deque()

    @property
    def full(self) -> bool:
        """Whether the partition should not be read now."""
        return len(self.frames) >= self._max_frames or self._bytes >= self._max_bytes

    def push(self, frame: Frame) -> None:
        """Take the next frame, also beyond the bounds: it has been fetched."""
        self.frames.append(frame)
        self._bytes += len(frame.payload or b"")

    def pop(self) -> Frame:
        """The oldest frame; IndexError where there is none."""
        frame = self.frames.popleft()
        self._bytes -= len(frame.payload or b"")
        return frame
