"""Which offset of a partition was committed, and who commits the next one, and how.

Offsets carry metadata: see `crash_notes.py`.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import OffsetAndMetadata
from msgspec import structs

from patchline.stream.kafka.cluster.log_break import LogSight, PartedLog, begin, resume
from patchline.stream.kafka.cluster.topic import epoch_ends, look_at
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import source_error, source_errors
from patchline.stream.kafka.crash_notes import CrashNotes, LogNote, log_note
from patchline.stream.model.errors import LogBreak, SourceError

FAREWELL_S = 2.0
"""How long leaving partitions in order may take. What takes longer looks like a crash to the next owner."""

Lost: TypeAlias = Callable[[TopicPartition], None]
"""Told when a partition that was taken over turns out to be another worker's."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """A partition that is this worker's from here on: where to read on, and how."""

    start: int
    notes: CrashNotes
    as_found: bool
    """Whether what this worker would commit with `start` is what was committed before."""
    parted: PartedLog | None = None
    """Why it is not the committed offset."""


class Offsets(Protocol):
    """Commits the offsets of the partitions that a source reads, and none of a partition that was lost."""

    @property
    def outlives_membership(self) -> bool:
        """Whether offsets can be committed through a rebalance, because more than the group tells whose they are."""

    async def take_over(
        self, partition: TopicPartition, consumer: AIOKafkaConsumer, lost: Lost, known: Collection[str] = ()
    ) -> Takeover:
        """Make a partition this worker's, and note that its frames may be in flight from now on.

        Args:
            partition: of the topic of frames.
            consumer: a member of the group.
            lost: told when a later commit finds that the partition is another worker's.
            known: ids that this worker has seen the topic with.

        Raises:
            LaneLostError: another worker has it.
            SourceUnavailableError, SinkUnavailableError: the brokers cannot do it now.
            SourceError, SinkError: the brokers refuse.
        """

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        """Commit that everything before `offset` is done. Raises like `take_over`."""

    async def try_alone(self, partition: TopicPartition, offset: int) -> None:
        """Note that the frame at `offset`, the partition's first that is not done, is alone in flight.

        Raises like `take_over`.
        """

    async def give_up(self, partitions: Collection[TopicPartition], *, in_order: bool) -> None:
        """Let partitions go; with `in_order`, nothing of them is in flight and their notes say so. Raises nothing."""


async def committed_offset(consumer: AIOKafkaConsumer, partition: TopicPartition) -> OffsetAndMetadata | None:
    """What the group coordinator has for a partition; None where it has nothing. Raises KafkaError."""
    # `consumer.committed` leaves the metadata out.
    found = await consumer._coordinator.fetch_committed_offsets([partition])
    offset = found.get(partition)
    return None if offset is None or offset.offset < 0 else offset


async def takeover_of(
    committed: OffsetAndMetadata | None,
    partition: TopicPartition,
    consumer: AIOKafkaConsumer,
    *,
    config: KafkaConfig,
    window: int,
    known: Collection[str] = (),
    was_read: bool = False,
) -> Takeover:
    """Where to read on after what was committed, and which frames to retry alone.

    Args:
        committed: what the group has for the partition; None where it has nothing.
        partition: of the topic of frames.
        consumer: a member of the group.
        config: where a group begins.
        window: frames of the partition that may be in flight at once.
        known: ids that this worker has seen the topic with.
        was_read: whether the group has read the partition before, whatever it has for it now.

    Raises:
        KafkaError: the brokers cannot tell now, or there is no such topic now.
    """
    found = "" if committed is None else committed.metadata or ""
    noted = log_note(found)
    log = await _sight(partition, consumer, noted)
    if committed is None:
        others = await _notes_of_others(partition, consumer, log.partitions)
        latest = config.start == "latest"
        start, began, parted = begin(
            partition.partition, log, latest=latest, others=others, known=known, was_read=was_read
        )
        noted = LogNote(topic=log.topic, partitions=began)
    else:
        start, parted = resume(committed.offset, noted, log)
        if parted is not None and parted.cause is LogBreak.RECREATED:
            noted = LogNote(topic=log.topic, partitions=log.partitions)
        elif parted is not None and parted.cause is LogBreak.TRUNCATED:
            # What lies before the cut is of the epoch that was noted, or of an earlier one.
            epoch = None if log.epoch_end is None else noted.epoch
            before = None if epoch is None else start
            noted = LogNote(topic=log.topic, partitions=noted.partitions, epoch=epoch, before=before)
        else:
            noted = structs.replace(noted, topic=log.topic or noted.topic)
        if parted is not None and parted.cause is not LogBreak.EXPIRED:
            found = ""  # the frames that were in flight are no longer where they were
    if noted.epoch is None and start == log.end:
        noted = structs.replace(noted, epoch=log.epoch, before=None if log.epoch is None else start)
    notes = CrashNotes(found, end=log.end, window=window, log=noted)
    as_found = committed is not None and (start, notes.metadata(start)) == (committed.offset, committed.metadata)
    return Takeover(start, notes, as_found=as_found, parted=parted)


async def _sight(partition: TopicPartition, consumer: AIOKafkaConsumer, noted: LogNote) -> LogSight:
    """What the brokers say of a partition's log now. Raises KafkaError."""
    seen = await look_at(consumer._client, partition.topic)
    if seen is None:
        raise UnknownTopicOrPartitionError(partition.topic)
    first = int((await consumer.beginning_offsets([partition]))[partition])
    end = int((await consumer.end_offsets([partition]))[partition])
    number, present = partition.partition, seen.epochs.get(partition.partition)
    is_noted = noted.epoch is not None and noted.topic == seen.id
    epoch = noted.epoch if is_noted else present
    if epoch is None:
        return LogSight(seen.id, len(seen.epochs), first, end)
    told = {} if is_noted or present is None else {number: present}
    ends = await epoch_ends(consumer._client, partition.topic, {number: epoch}, told)
    epoch_end = ends.get(number)
    if is_noted:
        if number not in ends:  # it would not be known whether the log was cut short
            raise NotLeaderForPartitionError(f"no leader of {partition} tells where its epochs end")
        return LogSight(seen.id, len(seen.epochs), first, end, epoch_end)
    return LogSight(seen.id, len(seen.epochs), first, end, epoch=present if epoch_end is not None else None)


async def _notes_of_others(partition: TopicPartition, consumer: AIOKafkaConsumer, partitions: int) -> list[LogNote]:
    """What was noted with the group's offsets of the topic's other partitions. Raises KafkaError."""
    others = [TopicPartition(partition.topic, number) for number in range(partitions) if number != partition.partition]
    found = await consumer._coordinator.fetch_committed_offsets(others)
    return [log_note(offset.metadata or "") for offset in found.values() if offset.offset >= 0]


@dataclass(slots=True)
class _OwnedOffsets:
    consumer: AIOKafkaConsumer
    notes: CrashNotes
    done: int
    """The committed offset when this worker last knew it."""


class ConsumerOffsets:
    """The `Offsets` for brokers without transactions: the consumer commits, after the results were delivered.

    Args:
        config: brokers and group.
        window: frames of a partition that may be in flight at once.
    """

    def __init__(self, config: KafkaConfig, *, window: int) -> None:
        self._config, self._window = config, window
        self._owned: dict[TopicPartition, _OwnedOffsets] = {}

    @property
    def outlives_membership(self) -> bool:
        """No: only the member that read a partition may commit its offset."""
        return False

    async def take_over(
        self,
        partition: TopicPartition,
        consumer: AIOKafkaConsumer,
        lost: Lost,  # noqa: ARG002 - the group tells of what is lost, before each rebalance
        known: Collection[str] = (),
    ) -> Takeover:
        """See `Offsets`."""
        with source_errors(self._config):
            committed = await committed_offset(consumer, partition)
            taken = await takeover_of(
                committed, partition, consumer, config=self._config, window=self._window, known=known
            )
        self._owned[partition] = _OwnedOffsets(consumer, taken.notes, taken.start)
        if not taken.as_found:
            await self.commit(partition, taken.start)
        return taken

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        """See `Offsets`."""
        await self._note(partition, offset, alone=False)

    async def try_alone(self, partition: TopicPartition, offset: int) -> None:
        """See `Offsets`."""
        await self._note(partition, offset, alone=True)

    async def _note(self, partition: TopicPartition, offset: int, *, alone: bool) -> None:
        owned = self._owned.get(partition)
        if owned is not None:
            noted = OffsetAndMetadata(offset, owned.notes.metadata(offset, alone=alone))
            if await self._commit(owned.consumer, {partition: noted}):
                owned.done = offset

    async def give_up(self, partitions: Collection[TopicPartition], *, in_order: bool) -> None:
        """See `Offsets`."""
        given = {partition: self._owned.pop(partition) for partition in partitions if partition in self._owned}
        if in_order and given:
            farewells = {
                partition: OffsetAndMetadata(owned.done, owned.notes.farewell(owned.done))
                for partition, owned in given.items()
            }
            consumer = next(iter(given.values())).consumer
            # Where it fails the next owner takes it for a crash, and is slower for a moment.
            with suppress(SourceError, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await self._commit(consumer, farewells)

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        """Commit offsets. Returns False where the group has moved on: then a new owner reads the frames again."""
        try:
            await consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError):
            return False
        except KafkaError as error:
            raise source_error(error, self._config) from error
        return True
