"""Which offset of a partition was committed, and how the next one is.

Offsets carry metadata: see `in_flight_notes.py`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import CrashNotes, tells_of_a_crash

FAREWELL_S = 2.0
"""How long leaving partitions in order may take. Without it the next owner takes it for a crash."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """A partition that is this worker's from here on: where to read on, and how."""

    start: int
    notes: CrashNotes
    as_found: bool
    """What would be committed with `start` is what has been."""


class Offsets(Protocol):
    """Whoever commits the offsets of the partitions that a source reads. A lost partition's are not committed."""

    async def take_over(self, partition: TopicPartition, consumer: AIOKafkaConsumer) -> Takeover:
        """Make a partition this worker's, and note that its frames may be in flight from now on.

        Raises:
            LaneLostError: another worker has it.
            SourceUnavailableError, SinkUnavailableError: not now.
            SourceError, SinkError: the brokers refuse.
        """

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        """Everything before `offset` is done. Raises like `take_over`."""

    async def try_alone(self, partition: TopicPartition, offset: int) -> None:
        """Note that the frame at `offset`, the partition's first that is not done, is alone in flight.

        Raises like `take_over`.
        """

    async def give_up(self, partitions: Collection[TopicPartition], *, in_order: bool) -> None:
        """These are no longer this worker's; `in_order`: and nothing of them is in flight. Raises nothing."""


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
