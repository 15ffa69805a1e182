"""Where to read a partition on, when its log and the offset that is remembered of it may have parted ways.

Everything here is arithmetic on what was noted with the offset and what the brokers say now. A leader epoch tells a log
that was cut short even where it has grown beyond the offset since: records of the noted epoch then end before those
that had been read of it (the idea of KIP-320).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from aiokafka import TopicPartition

from patchline.stream.kafka.crash_notes import LogNote
from patchline.stream.model.errors import LogBreak
from patchline.stream.model.observer import Observer


@dataclass(frozen=True, slots=True)
class LogSight:
    """A partition's log as the brokers tell it now."""

    topic: str | None
    """The topic's id; None where they tell none."""
    partitions: int
    """How many the topic has."""
    first: int
    end: int
    """The offset behind the last record that is settled."""
    epoch_end: int | None = None
    """Behind the last record of the epoch that was noted, or of an earlier one; None where it is not known."""
    epoch: int | None = None
    """That of the partition's leader, where it says after `end` was told that it is so; None where it does not."""


@dataclass(frozen=True, slots=True)
class PartedLog:
    """How a log and an offset parted ways: see `Observer.log_break`."""

    cause: LogBreak
    expected: int | None
    found: int
    lost: int | None


def resume(offset: int, noted: LogNote, log: LogSight) -> tuple[int, PartedLog | None]:
    """Where to read on after a committed offset: there, or at the first record that is there and was not read.

    Args:
        offset: the next that was to be read.
        noted: what was noted with it.
        log: what is there.

    Returns:
        The offset to read on from, and why it is another one.
    """
    if noted.topic is not None and log.topic is not None and noted.topic != log.topic:
        return log.first, PartedLog(LogBreak.RECREATED, offset, log.first, None)
    if (cut := _cut(offset, noted, log)) is not None:
        start = max(cut, log.first)
        return start, PartedLog(LogBreak.TRUNCATED, offset, start, None)
    if offset < log.first:
        return log.first, PartedLog(LogBreak.EXPIRED, offset, log.first, log.first - offset)
    return offset, None


def _cut(offset: int, noted: LogNote, log: LogSight) -> int | None:
    """From where on the log was written anew; None where it was not, as far as can be told."""
    beyond = offset > log.end
    if log.epoch_end is None or noted.before is None:
        return log.first if beyond else None
    # What was read behind `before` may be of a later epoch, so it need not be found where that one ends.
    read = offset if beyond else min(noted.before, offset)
    return log.epoch_end if log.epoch_end < read else None


def begin(
    partition: int,
    log: LogSight,
    *,
    latest: bool,
    others: Iterable[LogNote],
    known: Collection[str],
    was_read: bool = False,
) -> tuple[int, int | None, PartedLog | None]:
    """Where to begin a partition of which the group has no offset.

    `latest` is for a group that begins. Whatever came later, a partition or another topic of the name, is read whole.

    Args:
        partition: its number.
        log: what is there.
        latest: whether a group begins at the end.
        others: what was noted with the group's offsets of other partitions.
        known: ids that this worker has seen the topic with.
        was_read: whether the group has read the partition before. Then its offset was forgotten: with a topic that was
            deleted, or after a long time.

    Returns:
        The offset to begin with; how many partitions the topic had when the group began, where that is known; and what
        has happened, where the group does not begin here.
    """
    others = list(others)
    same = [note for note in others if log.topic is None or note.topic in (None, log.topic)]
    another = any(topic != log.topic for topic in known) and log.topic is not None
    if was_read or another or (others and not same):
        return log.first, log.partitions, PartedLog(LogBreak.RECREATED, None, log.first, None)
    began = max((note.partitions for note in same if note.partitions is not None), default=None)
    if not same or (began is not None and partition < began):
        return log.end if latest else log.first, began or log.partitions, None
    return log.first, began, PartedLog(LogBreak.PARTITION_ADDED, None, log.first, 0)


class PartedLogs:
    """Tells the observer of each log that is another: once of a topic made anew, once of each partition else.

    Args:
        observer: is told.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._expected: dict[TopicPartition, LogBreak] = {}
        self._topic: str | None = None
        """The topic made anew that was told of."""

    def expect(self, partition: TopicPartition, cause: LogBreak) -> None:
        """Note why a partition is about to be taken over anew."""
        self._expected[partition] = cause

    def taken(self, partition: TopicPartition, parted: PartedLog | None, start: int, topic: str | None) -> None:
        """Tell of a partition that was taken over, where its log is another.

        Args:
            partition: is read from now on.
            parted: what was found; None where the offset and the log agree.
            start: where it is read from.
            topic: the id of its topic, if it has one.
        """
        cause = self._expected.pop(partition, None)
        if parted is None and cause is not None:
            parted = PartedLog(cause, None, start, None)
        if parted is None:
            return
        if parted.cause is LogBreak.RECREATED:
            if topic is not None and topic == self._topic:
                return
            self._topic = topic
        self.tell(partition, parted)

    def tell(self, partition: TopicPartition, parted: PartedLog) -> None:
        """Tell of a partition that is read on elsewhere."""
        self._observer.log_break(
            partition.topic, partition.partition, parted.cause, parted.expected, parted.found, parted.lost
        )
