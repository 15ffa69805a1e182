"""Results, dead letters and consumed offsets to Kafka, exactly once.

Each input partition commits by itself, so partitions commit at the same time, and while one commits its next results
collect. Results of cameras that cannot be replayed have no offset; they go out as by `KafkaSink`.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from stream.config import MIB, KafkaConfig
from stream.errors import LaneLostError
from stream.kafka_records import records_of
from stream.kafka_sink import KafkaSink
from stream.observer import NullObserver, Observer
from stream.outcome import Outcome
from stream.transactions import PartitionTransactions

_CLOSE_S = 3.0


class KafkaLedger:
    """The pipeline's ledger for frames from Kafka. A `Sink`; the source tells it which partitions it owns.

    Args:
        config: brokers, topics and group.
        max_frame_bytes: larger frames are dead-lettered by reference.
        observer: told of partitions that are lost.
    """

    def __init__(
        self, config: KafkaConfig, *, max_frame_bytes: int = 32 * MIB, observer: Observer | None = None
    ) -> None:
        self._config = config
        self._max_frame_bytes = max_frame_bytes
        self._observer = observer or NullObserver()
        self._owned: dict[TopicPartition, PartitionTransactions] = {}
        self._ended: list[PartitionTransactions] = []
        self._live = KafkaSink(config, max_frame_bytes=max_frame_bytes)
        self._on_lost: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        """Names the brokers."""
        return f"Kafka results ({self._config.bootstrap_servers})"

    def bind(self, on_lost: Callable[[], None]) -> None:
        """Learn whom to tell when a partition turns out to be another worker's."""
        self._on_lost = on_lost

    async def open(self) -> None:
        """Nothing yet: a partition's producer connects when the partition is taken over."""

    async def take_over(self, partition: TopicPartition, consumer: AIOKafkaConsumer) -> int:
        """Make a partition this worker's; the offset to read on from.

        That is the committed offset, asked for after the former owner's last transaction is settled; where there is
        none, the partition's beginning or end, as the configuration says.

        Args:
            partition: the input partition.
            consumer: a member of the group.

        Raises:
            SinkUnavailableError: not now.
            SinkError: the brokers refuse.
        """
        transactions = PartitionTransactions(
            self._config, partition, consumer.committed, max_frame_bytes=self._max_frame_bytes
        )
        offset = await transactions.take_over()
        if offset is None:
            first = consumer.beginning_offsets if self._config.start == "earliest" else consumer.end_offsets
            try:
                offset = int((await first([partition]))[partition])
            except KafkaError as error:
                transactions.end()
                raise transactions.translated(error) from error
        self._owned[partition] = transactions
        return offset

    def give_up(self, partitions: Collection[TopicPartition]) -> None:
        """These are no longer this worker's: nothing more of them is committed."""
        for partition in partitions:
            transactions = self._owned.pop(partition, None)
            if transactions is not None:
                transactions.end()
                self._ended = [ended for ended in self._ended if ended.ending] + [transactions]

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Commit outcomes of one lane, and that they are done. Raises as `Sink.deliver` and LaneLostError."""
        position = outcomes[-1].frame.position
        if position is None:
            await self._live.deliver(outcomes)
            return
        partition = TopicPartition(position.topic, position.partition)
        transactions = self._owned.get(partition)
        if transactions is None:
            raise LaneLostError(f"partition {partition.partition} of {partition.topic} is not this worker's")
        records = records_of(outcomes, self._config, self._max_frame_bytes)
        try:
            await transactions.commit(records, position.offset + 1)
        except LaneLostError as lost:
            self._observer.retrying(self.name, lost, 1)
            if self._owned.get(partition) is transactions and self._on_lost is not None:
                self._on_lost()
            raise

    async def close(self) -> None:
        """Disconnect. What is still open is aborted by the partition's next owner."""
        self.give_up(list(self._owned))
        await asyncio.gather(*(transactions.ended(_CLOSE_S) for transactions in self._ended))
        await self._live.close()
