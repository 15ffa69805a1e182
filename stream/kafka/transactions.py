"""Transactions of one input partition: the results of its frames, and the offset they cover, as one.

The guarantee rests on one transactional id for each input partition, and on one rule: whoever commits has read the
committed offset after initialising that id, and nobody has initialised it since. Initialising fences the former owner
and settles what it left open; so two workers that both believe to own a partition cannot both commit, and the one that
can has started where the other's last commit ended. The consumer group's own idea of who owns what is not needed for
this, only for who should try.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import close, connect, describe, is_passing, new_producer
from patchline.stream.model.errors import LaneLostError, RecordTooLargeError, SinkError, SinkUnavailableError
from patchline.stream.wire.cloudevents import Record

Committed: TypeAlias = Callable[[], Awaitable[OffsetAndMetadata | None]]
"""The offset a group has committed for the partition; None where it has committed none."""

_RETRY_MS = 20

# After these a producer is of no more use, and a new one does what was asked.
_SETTLED_ANEW = (InvalidTxnState, InvalidProducerIdMapping, IllegalOperation)
_FAILURES = (KafkaError, IllegalOperation)
"""What aiokafka raises; the second, which is no KafkaError, by a producer that has been fenced amid its sends."""


def transactional_id(config: KafkaConfig, partition: TopicPartition) -> str:
    """`group/topic/partition`: the same for every worker that may own the partition."""
    return f"{config.group}/{partition.topic}/{partition.partition}"


class PartitionTransactions:
    """Commits what belongs to one input partition, for as long as it is this worker's.

    After any error the producer is given up. The next attempt makes a new one, which aborts what the old one left
    open, and looks at the committed offset to know whether the last commit had arrived after all: its answer may have
    been lost.

    Args:
        config: brokers, topics and group.
        partition: the input partition.
        committed: asks the group coordinator, not a cache.
        max_frame_bytes: records may have this much, and the headroom.
    """

    def __init__(
        self, config: KafkaConfig, partition: TopicPartition, committed: Committed, *, max_frame_bytes: int
    ) -> None:
        self._config = config
        self._partition = partition
        self._committed = committed
        self._max_frame_bytes = max_frame_bytes
        self._producer: AIOKafkaProducer | None = None
        self._offset: int | None = None
        """The committed offset when this worker last knew it."""
        self.had_owner: bool | None = None
        """Whether anybody had taken the partition over before, as far as the brokers remember; None: not asked yet."""
        self._turn = asyncio.Lock()
        self._ended = False
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def offset(self) -> int | None:
        """The committed offset when this worker last knew it; None where it knows none."""
        return self._offset

    async def take_over(self) -> OffsetAndMetadata | None:
        """Fence the former owner, settle what it left open, and only then read the committed offset.

        Raises:
            SinkUnavailableError: the brokers cannot do it now.
            SinkError: the brokers refuse.
        """
        try:
            self._producer = await self._connect()
            # Whoever initialises a transactional id first is given the epoch 0.
            self.had_owner = self._producer._txn_manager.producer_epoch > 0
            found = await self._committed()
        except KafkaError as error:
            self._give_up()
            raise self.translated(error) from error
        except BaseException:  # cancelled amid it
            self._give_up()
            raise
        self._offset = None if found is None else found.offset
        return found

    async def commit(self, records: Sequence[tuple[str, Record]], next_offset: int, metadata: str) -> None:
        """Commit records, (topic, record), and with them that everything before `next_offset` is done.

        Raises:
            LaneLostError: another worker owns the partition now; nothing was committed, or what was is known to it.
            SinkUnavailableError: nothing was committed, or its answer was lost; the same call may be made again.
            RecordTooLargeError: nothing was committed, and will not be with these records.
            SinkError: the brokers refuse.
        """
        async with self._turn:
            await self._commit(records, OffsetAndMetadata(next_offset, metadata))

    async def _commit(self, records: Sequence[tuple[str, Record]], offset: OffsetAndMetadata) -> None:
        if self._ended:
            raise LaneLostError(f"{self._name} was given up")
        if self._producer is None and await self._has_arrived(offset.offset):
            return
        try:
            await self._transact(records, offset)
        except _FAILURES as error:
            self._give_up()
            raise self.translated(error) from error
        except BaseException:  # cancelled: what was sent meanwhile is anyone's guess
            self._give_up()
            raise
        self._offset = offset.offset

    async def _has_arrived(self, next_offset: int) -> bool:
        before = self._offset
        found = await self.take_over()
        now = None if found is None else found.offset
        if now not in (before, next_offset):
            self.end()
            raise LaneLostError(f"{self._name}: another worker has committed offset {now}, this one {before}")
        return now == next_offset != before

    async def _transact(self, records: Sequence[tuple[str, Record]], offset: OffsetAndMetadata) -> None:
        producer = self._producer
        if producer is None:
            raise LaneLostError(f"{self._name} was given up")
        await producer.begin_transaction()
        answers: list[asyncio.Future[object]] = []
        errors: list[BaseException] = []
        try:
            for topic, (key, value, headers) in records:
                answers.append(await producer.send(topic, value, key=key, headers=headers))
            # The offset travels with the records: one round trip less.
            offsets = producer.send_offsets_to_transaction({self._partition: offset}, self._config.group)
            answers.append(asyncio.ensure_future(offsets))
        except _FAILURES as error:
            errors.append(error)
        # A transaction does not fail with a record that it loses: it would commit the offset without the result.
        found = await asyncio.gather(*answers, return_exceptions=True)
        errors += [answer for answer in found if isinstance(answer, BaseException)]
        if errors:
            # Being fenced shows in several ways at once; the plainest of them tells that the lane is lost.
            raise next((error for error in errors if _is_fenced(error)), errors[0])
        await producer.commit_transaction()

    async def _connect(self) -> AIOKafkaProducer:
        producer = new_producer(
            self._config,
            self._max_frame_bytes,
            transactional_id=transactional_id(self._config, self._partition),
            # Brokers answer "not yet" while they finish the last transaction, a matter of milliseconds.
            retry_backoff_ms=_RETRY_MS,
        )
        return await connect(producer, self._config)

    def end(self) -> None:
        """Give the partition up for good. Its next owner aborts what is open."""
        self._ended = True
        self._give_up()

    @property
    def ending(self) -> bool:
        """Whether connections are still being closed."""
        return bool(self._endings)

    async def ended(self, timeout_s: float) -> None:
        """Wait until connections are closed, or cut them off."""
        if self._endings:
            _, hanging = await asyncio.wait(self._endings, timeout=timeout_s)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    def _give_up(self) -> None:
        # Beside everything else: a broker that is away keeps `stop` waiting.
        producer, self._producer = self._producer, None
        if producer is not None:
            ending = asyncio.create_task(close(producer))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    @property
    def _name(self) -> str:
        return f"partition {self._partition.partition} of {self._partition.topic}"

    def translated(self, error: KafkaError | IllegalOperation) -> SinkError:
        """What an error of Kafka means for this partition."""
        if _is_fenced(error):
            self.end()
            return LaneLostError(f"{self._name}: another worker has taken it over")
        if isinstance(error, MessageSizeTooLargeError):
            return RecordTooLargeError(f"{self._name}: {describe(error, self._config)}")
        # aiokafka wraps what it did not expect in the plain class, a missing right to commit offsets included.
        if type(error) is KafkaError and isinstance(error.__cause__, TopicAuthorizationFailedError):
            error = TopicAuthorizationFailedError(self._partition.topic)
        again = isinstance(error, _SETTLED_ANEW) or type(error) is KafkaError or is_passing(error)
        kind = SinkUnavailableError if again else SinkError
        return kind(f"{self._name}: {describe(error, self._config)}")


def _is_fenced(error: object) -> bool:
    return isinstance(error, ProducerFenced | InvalidProducerEpoch)
