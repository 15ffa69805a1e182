"""Feedback, replies and generations over Kafka.

Feedback is keyed by recipe and read by a consumer group of its own (`GROUP.learning`), so one worker owns a recipe's
learning. An offset is committed once the answer is published, which is after the generation is stored: what a killed
worker leaves is read again, and applied once, by its id. Replies and generations are read by every worker, from their
topics' beginning and without a group.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    MessageSizeTooLargeError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka.batches.placeholders import decoded_headers
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import (
    close,
    connect,
    is_passing,
    needs_new_producer,
    new_consumer,
    new_producer,
    source_error,
    source_errors,
)
from patchline.stream.learning.inbox import Replies
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import Foreign, LogBreak, RecordError, RecordTooLargeError, SourceError
from patchline.stream.model.feedback import Feedback, FeedbackOutcome, FeedbackReply, GenerationAnnounced
from patchline.stream.model.observer import Observer
from patchline.stream.support.retry import retry_until_done
from patchline.stream.wire.cloudevents import Record, attributes_of
from patchline.stream.wire.feedback import (
    announcement_record,
    read_announcement,
    read_reply,
    reply_record,
)
from patchline.stream.wire.signatures import FeedbackKeys

_MAX_NAME, _MAX_DETAIL, _MAX_FOREIGN = 1024, 4096, 300
"""How many characters of a record that is no feedback its answer repeats."""


class KafkaFeedback:
    """A `FeedbackInbox` on three topics.

    Args:
        config: brokers, topics and group.
        max_frame_bytes: an inline image may have this much.
        observer: told of retries.
        answers: take part in answering feedback; False only hands it in and sees the answers.
        keys: whose signatures are known, and what this process signs with.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        max_frame_bytes: int = 32 * MIB,
        observer: Observer | None = None,
        answers: bool = True,
        keys: FeedbackKeys | None = None,
    ) -> None:
        self._config = config
        self._answers = answers
        self._keys = keys or FeedbackKeys()
        self._record_bytes = max_frame_bytes * 4 // 3  # base64
        self._observer = observer or Observer()
        self._replies = Replies()
        self._producer: AIOKafkaProducer | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._follower: AIOKafkaConsumer | None = None
        self._places: dict[str, tuple[TopicPartition, int]] = {}
        """Where feedback came from that was given and is not yet settled, by its id."""

    async def open(self) -> None:
        """Connect.

        Raises:
            SourceUnavailableError: no broker answers.
            SourceError: the brokers refuse.
        """
        config = self._config
        common = {"max_partition_fetch_bytes": self._record_bytes + MIB}
        session_ms = round(config.session_timeout_s * 1000)
        try:
            with source_errors(config):
                self._producer = await connect(new_producer(config, self._record_bytes), config)
                topics = config.generations_topic, config.feedback_replies_topic
                every_worker = new_consumer(config, *topics, **common, auto_offset_reset="earliest")
                self._follower = await connect(every_worker, config)
                if not self._answers:
                    return
                one_worker = new_consumer(
                    config,
                    config.feedback_topic,
                    **common,
                    group_id=f"{config.group}.learning",
                    enable_auto_commit=False,
                    auto_offset_reset="none",  # the library would jump without a word
                    session_timeout_ms=session_ms,
                    heartbeat_interval_ms=session_ms // 4,
                )
                self._reader = await connect(one_worker, config)
        except BaseException:  # cancelled, too
            await self.close()
            raise

    async def close(self) -> None:
        """See `FeedbackInbox`."""
        clients = (self._reader, self._follower, self._producer)
        self._reader = self._follower = self._producer = None
        await asyncio.gather(*map(close, clients), return_exceptions=True)

    async def feedback(self) -> AsyncIterator[Feedback]:
        """See `FeedbackInbox`. A record that is no feedback is answered here, and passed over."""
        while True:
            for record in await self._poll(self._reader, "Kafka feedback", most=1):
                place = TopicPartition(record.topic, record.partition), record.offset + 1
                try:
                    found = self._keys.read(decoded_headers(record), record.value)
                except RecordError as error:
                    self._foreign(Foreign.FEEDBACK, record, error)
                    await self._publish(self._config.feedback_replies_topic, reply_record(_refused(record, error)))
                    await self._commit(*place)
                    continue
                self._places[found.feedback_id] = place
                yield found

    async def answer(self, feedback: Feedback, reply: FeedbackReply) -> None:
        """See `FeedbackInbox`."""
        replies = self._config.feedback_replies_topic
        try:
            await self._publish(replies, reply_record(reply))
        except RecordTooLargeError:  # thousands of known defects with long names
            await self._publish(replies, reply_record(msgspec.structs.replace(reply, preview=None)))
        if (place := self._places.pop(feedback.feedback_id, None)) is not None:
            await self._commit(*place)

    async def submit(self, feedback: Feedback) -> None:
        """See `FeedbackInbox`."""
        await self._publish(self._config.feedback_topic, self._keys.write(feedback))

    def reply(self, feedback_id: str) -> FeedbackReply | None:
        """See `FeedbackInbox`."""
        return self._replies.get(feedback_id)

    async def announce(self, announced: GenerationAnnounced) -> None:
        """See `FeedbackInbox`."""
        await self._publish(self._config.generations_topic, announcement_record(announced))

    async def announced(self) -> AsyncIterator[GenerationAnnounced]:
        """See `FeedbackInbox`. It also keeps the replies, and passes over a record that is neither."""
        while True:
            for record in await self._poll(self._follower, "Kafka generations", most=500):
                try:
                    if record.topic == self._config.generations_topic:
                        yield read_announcement(decoded_headers(record), record.value)
                    else:
                        self._replies.keep(read_reply(decoded_headers(record), record.value))
                except RecordError as error:
                    generations = record.topic == self._config.generations_topic
                    self._foreign(Foreign.GENERATION if generations else Foreign.FEEDBACK_REPLY, record, error)

    def _foreign(self, what: Foreign, record: ConsumerRecord, error: RecordError) -> None:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        self._observer.foreign(what, f"{where}: {str(error)[:_MAX_FOREIGN]}")

    async def _poll(self, consumer: AIOKafkaConsumer | None, name: str, *, most: int) -> Sequence[ConsumerRecord]:
        if consumer is None:
            raise SourceError(f"{name}: not connected")
        try:
            try:
                fetched = await consumer.getmany(timeout_ms=1000, max_records=most)
            except OffsetOutOfRangeError as error:
                fetched = await self._begin(consumer, error.args[0])
            except NoOffsetForPartitionError as error:
                fetched = await self._begin(consumer, {error.args[0]: None})
        except IllegalStateError:
            return []  # the partition is another worker's now
        except KafkaError as error:
            if not is_passing(error):
                raise source_error(error, self._config) from error
            self._observer.retrying(name, error, 1)
            await asyncio.sleep(1)
            return []
        return [record for records in fetched.values() for record in records]

    async def _begin(
        self, consumer: AIOKafkaConsumer, positions: Mapping[TopicPartition, int | None]
    ) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        """Read partitions on from their first records, and tell of feedback that was gone before it was read.

        Args:
            consumer: reads them.
            positions: where each was to be read; None where the group begins.

        Returns:
            Nothing that was read yet. Raises KafkaError where the brokers cannot tell now.
        """
        for partition, position in positions.items():
            first = int((await consumer.beginning_offsets([partition]))[partition])
            end = int((await consumer.end_offsets([partition]))[partition])
            if position is not None and first <= position <= end:
                continue  # it has come meanwhile
            consumer.seek(partition, first)
            if position is not None:
                cause, lost = (LogBreak.EXPIRED, first - position) if position < first else (LogBreak.TRUNCATED, None)
                self._observer.feedback_gap(partition.topic, partition.partition, cause, position, first, lost)
        return {}

    async def _publish(self, topic: str, record: Record) -> None:
        async def send() -> None:
            key, value, headers = record
            try:
                if self._producer is None:
                    self._producer = await connect(new_producer(self._config, self._record_bytes), self._config)
                await self._producer.send_and_wait(topic, value, key=key, headers=headers)
            except MessageSizeTooLargeError as error:
                raise RecordTooLargeError(f"{topic}: {error}") from error
            except KafkaError as error:
                if needs_new_producer(error):
                    producer, self._producer = self._producer, None
                    await close(producer)
                raise source_error(error, self._config) from error

        await retry_until_done(topic, send, self._observer)

    async def _commit(self, partition: TopicPartition, offset: int) -> None:
        async def commit() -> None:
            try:
                if self._reader is not None:
                    await self._reader.commit({partition: OffsetAndMetadata(offset, "")})
            except (CommitFailedError, IllegalStateError):
                return  # another worker owns the recipe now: it reads the feedback again, and finds it applied
            except KafkaError as error:
                raise source_error(error, self._config) from error

        await retry_until_done("Kafka feedback", commit, self._observer)


def _refused(record: ConsumerRecord, error: RecordError) -> FeedbackReply:
    """The answer to a record that is no feedback, named by its id where it has a usable one, else by its position.

    Records take tens of MiB in any field; an answer repeats none that is out of all proportion, so that it always fits.
    """
    position = f"{record.topic}/{record.partition}/{record.offset}"
    name = attributes_of(record.headers, []).get("ce_id", "")
    return FeedbackReply(
        feedback_id=name if 0 < len(name) <= _MAX_NAME else position,
        recipe=(record.key or b"")[:_MAX_NAME].decode("utf-8", "replace") or "unknown",
        outcome=FeedbackOutcome.REFUSED,
        time=datetime.now(UTC),
        detail=f"{position}: {error}"[:_MAX_DETAIL],
    )
