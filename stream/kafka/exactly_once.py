"""Results, dead letters and consumed offsets to Kafka, exactly once.

Each input partition commits by itself, so partitions commit at the same time, and while one commits its next results
collect. Results of cameras that cannot be replayed have no offset to commit, so an `AtLeastOnceSink` sends them.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import CrashNotes
from patchline.stream.kafka.offsets import FAREWELL_S, Lost, Takeover, committed_offset, takeover_of
from patchline.stream.kafka.records import records_of
from patchline.stream.kafka.transactions import PartitionTransactions
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import LaneLostError, RecordTooLargeError, SinkError
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.model.outcome import Outcome
from patchline.stream.wire.cloudevents import Record

_CLOSE_S = 3.0


@dataclass(frozen=True, slots=True)
class _OwnedPartition:
    transactions: PartitionTransactions
    notes: CrashNotes
    lost: Lost


class ExactlyOnceSink:
    """The pipeline's ledger for frames from Kafka. A `Sink`, and the source's `Offsets`.

    Args:
        config: brokers, topics and group.
        max_frame_bytes: larger frames are dead-lettered by reference.
        observer: told of partitions that are lost.
        window: frames of a partition that may be in flight at once.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        max_frame_bytes: int = 32 * MIB,
        observer: Observer | None = None,
        window: int = Limits().max_in_flight,
    ) -> None:
        self._window = window
        self._config = config
        self._max_frame_bytes = max_frame_bytes
        self._observer = observer or Observer()
        self._owned: dict[TopicPartition, _OwnedPartition] = {}
        self._fresh: set[TopicPartition] = set()
        """Those that nobody had before this worker: when taking one over fails, it has had it itself the next time."""
        self._ended: list[PartitionTransactions] = []
        self._live = AtLeastOnceSink(config, max_frame_bytes=max_frame_bytes)

    @property
    def name(self) -> str:
        """Names the brokers."""
        return f"Kafka results ({self._config.bootstrap_servers})"

    @property
    def outlives_membership(self) -> bool:
        """A partition's transactions tell whose it is: frames go on through a rebalance."""
        return True

    async def open(self) -> None:
        """Do nothing yet: a partition's producer connects when the partition is taken over."""

    async def take_over(
        self, partition: TopicPartition, consumer: AIOKafkaConsumer, lost: Lost, known: Collection[str] = ()
    ) -> Takeover:
        """Make a partition this worker's, from the committed offset on.

        The offset is asked for after the former owner's last transaction is settled. Where there is none, the worker
        begins at the partition's beginning or end, as the configuration says.

        Args:
            partition: the input partition.
            consumer: a member of the group.
            lost: told when a later commit finds that another worker has the partition.
            known: ids that this worker has seen the topic with.

        Raises:
            LaneLostError: another worker has it.
            SinkUnavailableError: the brokers cannot do it now.
            SinkError: the brokers refuse.
        """
        transactions = PartitionTransactions(
            self._config,
            partition,
            lambda: committed_offset(consumer, partition),
            max_frame_bytes=self._max_frame_bytes,
        )
        try:
            committed = await transactions.take_over()
        finally:
            if transactions.had_owner is False:
                self._fresh.add(partition)
        try:
            taken = await takeover_of(
                committed,
                partition,
                consumer,
                config=self._config,
                window=self._window,
                known=known,
                was_read=transactions.had_owner is True and partition not in self._fresh,
            )
            if not taken.as_found:
                await transactions.commit([], taken.start, taken.notes.metadata(taken.start))
        except KafkaError as error:
            transactions.end()
            raise transactions.translated(error) from error
        except BaseException:
            transactions.end()
            raise
        self._owned[partition] = _OwnedPartition(transactions, taken.notes, lost)
        return taken

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        """Do nothing: `deliver` has committed the offset with its results."""

    async def try_alone(self, partition: TopicPartition, offset: int) -> None:
        """See `Offsets`."""
        await self._commit(partition, [], offset, alone=True)

    async def give_up(self, partitions: Collection[TopicPartition], *, in_order: bool) -> None:
        """See `Offsets`. From then on nothing of these partitions is committed."""
        given = [owned for partition in partitions if (owned := self._owned.pop(partition, None)) is not None]
        if in_order:
            await asyncio.gather(*(self._farewell(owned) for owned in given))
        for owned in given:
            owned.transactions.end()
            self._ended = [ended for ended in self._ended if ended.ending] + [owned.transactions]

    @staticmethod
    async def _farewell(owned: _OwnedPartition) -> None:
        offset = owned.transactions.offset
        if offset is None:
            return
        # Where it fails the next owner takes it for a crash, and is slower for a moment.
        with suppress(SinkError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await owned.transactions.commit([], offset, owned.notes.farewell(offset))

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Commit outcomes of one lane, and that they are done. Raises as `Sink.deliver` and LaneLostError."""
        position = outcomes[-1].frame.position
        if position is None:
            await self._live.deliver(outcomes)
            return
        partition = TopicPartition(position.topic, position.partition)
        records = records_of(outcomes, self._config, self._max_frame_bytes)
        try:
            await self._commit(partition, records, position.offset + 1)
        except RecordTooLargeError:
            await self._commit(partition, records_of(outcomes, self._config, 0), position.offset + 1)

    async def _commit(
        self, partition: TopicPartition, records: Sequence[tuple[str, Record]], offset: int, *, alone: bool = False
    ) -> None:
        owned = self._owned.get(partition)
        if owned is None:
            raise LaneLostError(f"partition {partition.partition} of {partition.topic} is not this worker's")
        try:
            await owned.transactions.commit(records, offset, owned.notes.metadata(offset, alone=alone))
        except LaneLostError as error:
            self._observer.retrying(self.name, error, 1)
            if self._owned.get(partition) is owned:
                owned.lost(partition)
            raise

    async def close(self) -> None:
        """Disconnect. What is still open is aborted by the partition's next owner."""
        await self.give_up(list(self._owned), in_order=False)
        await asyncio.gather(*(transactions.ended(_CLOSE_S) for transactions in self._ended))
        await self._live.close()
