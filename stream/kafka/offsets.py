"""Which offset of a partition was committed, and who commits the next one, and how.

Offsets carry metadata: see `crash_notes.py`.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import source_error, source_errors
from patchline.stream.kafka.crash_notes import CrashNotes, tells_of_a_crash
from patchline.stream.model.errors import SourceError

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


class Offsets(Protocol):
    """Commits the offsets of the partitions that a source reads, and none of a partition that was lost."""

    @property
    def outlives_membership(self) -> bool:
        """Whether offsets can be committed through a rebalance, because more than the group tells whose they are."""

    async def take_over(self, partition: TopicPartition, consumer: AIOKafkaConsumer, lost: Lost) -> Takeover:
        """Make a partition this worker's, and note that its frames may be in flight from now on.

        Args:
            partition: of the topic of frames.
            consumer: a member of the group.
            lost: told when a later commit finds that the partition is another worker's.

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
) -> Takeover:
    """Where to read on after what was committed, and which frames to retry alone. Raises KafkaError."""
    if committed is None:
        first = consumer.beginning_offsets if config.start == "earliest" else consumer.end_offsets
        start = int((await first([partition]))[partition])
        return Takeover(start, CrashNotes("", end=start, window=window), as_found=False)
    found = committed.metadata or ""
    end = int((await consumer.end_offsets([partition]))[partition]) if tells_of_a_crash(found) else committed.offset
    notes = CrashNotes(found, end=end, window=window)
    return Takeover(committed.offset, notes, as_found=notes.metadata(committed.offset) == found)


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
    ) -> Takeover:
        """See `Offsets`."""
        with source_errors(self._config):
            committed = await committed_offset(consumer, partition)
            taken = await takeover_of(committed, partition, consumer, config=self._config, window=self._window)
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
