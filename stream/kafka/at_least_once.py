"""Results and dead letters to Kafka, each at least once."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import describe, is_passing, needs_new_producer, producer_options, start
from patchline.stream.kafka.crash_notes import CrashNotes
from patchline.stream.kafka.offsets import FAREWELL_S, Takeover, committed_offset, takeover_of
from patchline.stream.kafka.records import records_of
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import SinkError, SinkUnavailableError, SourceError, SourceUnavailableError
from patchline.stream.model.outcome import Outcome
from patchline.stream.wire.cloudevents import Record


class AtLeastOnceSink:
    """Produces each outcome's result, and the bytes of each frame that was not inspected.

    Records are keyed by camera, so a camera's results keep their order. The producer is idempotent and waits for all
    replicas in sync. When a delivery is tried again, results that had arrived before are there twice; `ce_id` tells.

    Args:
        config: brokers and topics.
        max_frame_bytes: larger frames are dead-lettered by reference.
    """

    def __init__(self, config: KafkaConfig, *, max_frame_bytes: int = 32 * MIB) -> None:
        self._config = config
        self._max_frame_bytes = max_frame_bytes
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        """Names the brokers."""
        return f"Kafka results ({self._config.bootstrap_servers})"

    async def open(self) -> None:
        """Connect.

        Raises:
            SinkUnavailableError: no broker answers.
            SinkError: the brokers refuse.
        """
        async with self._opening:
            if self._producer is None:
                self._producer = await self._connect()

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**producer_options(self._config, self._max_frame_bytes))
        try:
            await start(producer, self._config)
        except KafkaError as error:
            await producer.stop()
            raise self._translated(error) from error
        return producer

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Produce, and wait until every record is acknowledged. Raises as `Sink.deliver` says."""
        records = records_of(outcomes, self._config, self._max_frame_bytes)
        if refused := await self._produce(records):
            smaller = records_of(outcomes, self._config, 0)
            if await self._produce([smaller[place] for place in refused]):
                raise SinkError(f"{self.name}: a record is larger than its topic takes, without a frame in it")

    async def _produce(self, records: Sequence[tuple[str, Record]]) -> list[int]:
        """Produce what the topics take; the places of those records that they refuse for their size."""
        await self.open()
        producer = self._producer
        if producer is None:
            raise SinkUnavailableError(f"{self.name} is closed")
        try:
            sent = [await self._send(producer, topic, record) for topic, record in records]
            answers = await asyncio.gather(*sent, return_exceptions=True)
            refused = [place for place, answer in enumerate(answers) if isinstance(answer, MessageSizeTooLargeError)]
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, MessageSizeTooLargeError):
                    raise answer
        except KafkaError as error:
            if needs_new_producer(error):
                await self.close()
            raise self._translated(error) from error
        return refused

    @staticmethod
    async def _send(producer: AIOKafkaProducer, topic: str, record: Record) -> "asyncio.Future[object]":
        key, value, headers = record
        sent: asyncio.Future[object] = await producer.send(topic, value, key=key, headers=headers)
        return sent

    def _translated(self, error: KafkaError) -> SinkError:
        kind = SinkUnavailableError if is_passing(error) or needs_new_producer(error) else SinkError
        return kind(describe(error, self._config))

    async def close(self) -> None:
        """Send what is left and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


class KafkaOffsets:
    """Offsets committed by the consumer: results were delivered before. `Offsets` for brokers without transactions.

    Args:
        config: brokers and group.
        window: frames of a partition that may be in flight at once.
    """

    def __init__(self, config: KafkaConfig, *, window: int) -> None:
        self._config = config
        self._window = window
        self._consumer: AIOKafkaConsumer | None = None
        self._owned: dict[TopicPartition, CrashNotes] = {}
        self._done: dict[TopicPartition, int] = {}

    async def take_over(self, partition: TopicPartition, consumer: AIOKafkaConsumer) -> Takeover:
        """See `Offsets`."""
        self._consumer = consumer
        try:
            committed = await committed_offset(consumer, partition)
            taken = await takeover_of(committed, partition, consumer, config=self._config, window=self._window)
        except KafkaError as error:
            raise self._translated(error) from error
        self._owned[partition] = taken.notes
        self._done[partition] = taken.start
        if not taken.as_found:
            await self._commit({partition: OffsetAndMetadata(taken.start, taken.notes.metadata(taken.start))})
        return taken

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        """See `Offsets`."""
        if (notes := self._owned.get(partition)) is not None:
            await self._commit({partition: OffsetAndMetadata(offset, notes.metadata(offset))})

    async def try_alone(self, partition: TopicPartition, offset: int) -> None:
        """See `Offsets`."""
        if (notes := self._owned.get(partition)) is not None:
            await self._commit({partition: OffsetAndMetadata(offset, notes.metadata(offset, alone=True))})

    async def give_up(self, partitions: Collection[TopicPartition], *, in_order: bool) -> None:
        """See `Offsets`."""
        farewells: dict[TopicPartition, OffsetAndMetadata] = {}
        for partition in partitions:
            notes, done = self._owned.pop(partition, None), self._done.pop(partition, None)
            if notes is not None and done is not None:
                farewells[partition] = OffsetAndMetadata(done, notes.farewell(done))
        if in_order and farewells:
            # Where it fails the next owner takes it for a crash, and is slower for a moment.
            with suppress(SourceError, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await self._commit(farewells)

    async def _commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self._consumer is None:
            return
        try:
            await self._consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError):
            return  # the group has moved on: whoever has the partition now reads these frames again
        except KafkaError as error:
            raise self._translated(error) from error
        for partition in offsets.keys() & self._done.keys():
            self._done[partition] = offsets[partition].offset

    def _translated(self, error: KafkaError) -> SourceError:
        kind = SourceUnavailableError if is_passing(error) else SourceError
        return kind(describe(error, self._config))
