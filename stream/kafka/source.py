"""Frames from a Kafka topic, shared among workers by a consumer group.

Records wait in one small buffer a partition (`read_ahead.py`). A partition whose buffer is full is not polled, so
nothing more of it is fetched and the others go on: that is how a full queue slows Kafka down. The consumer's own task
keeps the heartbeat.

Offsets are committed after the pipeline has settled the frames: by the consumer, or by the ledger in the transaction of
their results. Which partitions are read, from where on, and what happens to their frames when they move to another
worker is `partitions.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import (
    BrokerResponseError,
    InconsistentGroupProtocolError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from patchline.stream.kafka.batches.epochs import UNKNOWN
from patchline.stream.kafka.batches.guarded_fetch import epochs_fetched
from patchline.stream.kafka.batches.placeholders import own_headers, undecodable
from patchline.stream.kafka.cluster.log_break import PartedLog
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import describe, is_passing
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.kafka.lag import watch_lag
from patchline.stream.kafka.offsets import ConsumerOffsets, Offsets
from patchline.stream.kafka.partitions import PartitionOwnership
from patchline.stream.kafka.read_ahead import ReadAhead, ReadAheads
from patchline.stream.model.errors import LogBreak, SourceError
from patchline.stream.model.frame import Frame, LaneKey, Position
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.ports import Release
from patchline.stream.support.heartbeat import Heartbeat
from patchline.stream.wire.frames import read_frame, unread_frame

_POLL_MS = 50
_IDLE_POLL_MS = 1000
"""How long a poll waits that asks for all partitions: meanwhile it could miss only a new one, which ends it."""
_FULL_POLL_S = 3.0
"""How often the consumer is told that this worker lives where no frame is wanted; the watchdog sees it, too."""

Fetched: TypeAlias = Mapping[TopicPartition, Sequence[ConsumerRecord]]


class KafkaSource:
    """The frames topic. A `ReplayableSource`.

    Args:
        config: brokers, topic, group and buffers.
        observer: told of lag, assignment and retries.
        ledger: commits offsets together with results. None: they are committed by the consumer.
        window: frames of a partition that may be in flight at once, where there is no ledger.
        urgent: whether a camera's frames go first when the engine is short.
        heart: beats while partitions are read, also where nothing comes.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        observer: Observer | None = None,
        ledger: ExactlyOnceSink | None = None,
        window: int = Limits().max_in_flight,
        urgent: Callable[[str], bool] = lambda _: False,
        heart: Heartbeat | None = None,
    ) -> None:
        self._heart = heart or Heartbeat()
        self._config = config
        self._offsets: Offsets = ConsumerOffsets(config, window=window) if ledger is None else ledger
        self._observer = observer or Observer()
        self._frames = ReadAheads(urgent)
        self._ownership: PartitionOwnership | None = None
        """None while the source is not open."""
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, release: Release) -> None:
        """Join the consumer group.

        Raises:
            SourceUnavailableError: no broker answers, or the topic is not there.
            SourceError: the brokers refuse.
        """
        ownership = PartitionOwnership(self._config, self._offsets, self._frames, self._observer, release)
        try:
            await ownership.join()
        except SourceError as error:
            answered = error.__cause__ is None or isinstance(error.__cause__, BrokerResponseError)
            self._observer.kafka(answered, str(error))
            raise
        self._ownership = ownership
        every_s = self._config.lag_interval_s
        lags = partial(
            watch_lag,
            ownership.consumer,
            ownership.committed,
            self._observer,
            interval_s=every_s,
            read_to=self._frames.read_to,
        )
        work = (partial(self._poll, ownership), lags, ownership.watch.run)
        self._tasks = [ownership.guarded(task) for task in work]

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The next frame, partition by partition in turns of a few frames. It never ends by itself."""
        return await self._frames.take()

    def begin_batch(self) -> None:
        """See `ReplayableSource`."""
        self._frames.end_turn()

    def hold(self, lanes: Collection[LaneKey]) -> None:
        """See `HoldableSource`. What was fetched of a held partition waits in its buffer, and fills it up."""
        self._frames.hold(frozenset(TopicPartition(topic, partition) for topic, partition in lanes))

    async def commit(self, position: Position) -> None:
        """See `ReplayableSource`. A partition that was lost meanwhile is not this worker's to commit."""
        if self._ownership is not None:
            await self._ownership.commit(TopicPartition(position.topic, position.partition), position.offset + 1)

    async def try_alone(self, position: Position) -> None:
        """See `ReplayableSource`."""
        await self._offsets.try_alone(TopicPartition(position.topic, position.partition), position.offset)

    async def close(self) -> None:
        """Leave the group and disconnect."""
        self._heart.rest()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._heart.rest()
        ownership, self._ownership = self._ownership, None
        if ownership is not None:
            await ownership.close()

    async def _poll(self, ownership: PartitionOwnership) -> None:
        """Keep the buffers filled, until cancelled."""
        # Of no partition that exists. Polling it says that this worker lives, and leaves what was fetched alone.
        nothing = TopicPartition(self._config.frames_topic, -1)
        frames = self._frames
        while True:
            self._heart.beat()
            wanted = self._wanted()
            asked = {partition: frames.get(partition) for partition in wanted}
            fetched: Fetched = {}
            try:
                if wanted:
                    fetched = await self._fetch(ownership, wanted)
                else:
                    # Full, or not yet taken over: records of such a partition must stay where they are.
                    frames.expect_change()
                    await ownership.consumer.getmany(nothing, timeout_ms=0)
                await self._until_sure(ownership)
            except OffsetOutOfRangeError as error:
                await self._out_of_range(ownership, error.args[0])
                continue
            except NoOffsetForPartitionError:
                continue  # the library looked for a partition's offset before it was taken over
            except KafkaError as error:
                if not is_passing(error):
                    raise
                if isinstance(error, InconsistentGroupProtocolError):
                    ownership.watch.hindered = describe(error, self._config)  # which the next look tells
                else:
                    self._observer.retrying("Kafka frames", error, 1)
                await asyncio.sleep(1)
                continue
            if not wanted:
                await frames.until_changed(_FULL_POLL_S if len(frames) else _IDLE_POLL_MS / 1000)
            elif ownership.settled:  # else it is of the time before the rebalance; what is still ours is fetched again
                # A partition that was let go meanwhile, and taken over, is read again.
                kept = {at: records for at, records in fetched.items() if frames.get(at) is asked.get(at)}
                self._push(ownership, kept)

    async def _until_sure(self, ownership: PartitionOwnership) -> None:
        """Wait for a look at the topic where one is due: for as long as the brokers are away, which is no hang."""
        self._heart.rest()
        await ownership.watch.until_sure()
        self._heart.beat()

    async def _out_of_range(self, ownership: PartitionOwnership, positions: Mapping[TopicPartition, int]) -> None:
        """Go on where a log has records, since it has none at a position, nor behind it.

        Where the brokers do not tell now, the next read fails again.
        """
        self._heart.rest()  # as above: brokers are asked, which may be away
        try:
            await ownership.watch.look()  # by that, a topic that was made anew is taken over anew
            for partition, position in positions.items():
                if (frames := self._frames.get(partition)) is None:
                    continue
                first = int((await ownership.consumer.beginning_offsets([partition]))[partition])
                end = int((await ownership.consumer.end_offsets([partition]))[partition])
                if self._frames.get(partition) is not frames or not ownership.settled:
                    continue
                if position < first:
                    frames.next_offset = first
                    ownership.consumer.seek(partition, first)
                    ownership.parted.tell(partition, PartedLog(LogBreak.EXPIRED, position, first, first - position))
                elif position > end:
                    ownership.take_anew(partition, LogBreak.TRUNCATED)
        except KafkaError as error:
            if not is_passing(error):
                raise
            self._observer.retrying("Kafka frames", error, 1)
            await asyncio.sleep(1)

    def _wanted(self) -> list[TopicPartition]:
        """The partitions to be read now."""
        if self._config.partition_buffer_frames:
            return [partition for partition, frames in self._frames if not frames.full]
        return self._frames.in_turn() if self._frames.asked and not self._frames.has_next else []

    async def _fetch(self, ownership: PartitionOwnership, wanted: Sequence[TopicPartition]) -> Fetched:
        """The next records of these partitions; none where none came for a while."""
        consumer, most = ownership.consumer, self._config.partition_buffer_frames
        for partition in wanted if most == 0 else ():  # what the consumer has fetched already: by turns
            fetched: Fetched = await consumer.getmany(partition, timeout_ms=0, max_records=1)
            if fetched:
                return fetched
        poll_ms = _IDLE_POLL_MS if len(wanted) == len(self._frames) else _POLL_MS
        # No record is lost where it ends early: they are taken after the wait.
        async with self._frames.until_more_partitions():
            records: Fetched = await consumer.getmany(*wanted, timeout_ms=poll_ms, max_records=most or 1)
            return records
        return {}

    def _push(self, ownership: PartitionOwnership, fetched: Fetched) -> None:
        for partition, records in fetched.items():
            if (frames := self._frames.get(partition)) is not None:
                for record in self._admitted(ownership, partition, frames, records):
                    if record.offset >= frames.next_offset:
                        frames.push(self._frame(record, frames), record.offset)
        self._frames.tell_filled()
        self._observer.queue_depth("kafka_buffer", self._frames.waiting)

    def _admitted(
        self,
        ownership: PartitionOwnership,
        partition: TopicPartition,
        frames: ReadAhead,
        records: Sequence[ConsumerRecord],
    ) -> Sequence[ConsumerRecord]:
        """The first of the records, up to those of a later epoch, which are fetched again after a look at the log."""
        epochs = epochs_fetched(ownership.consumer, partition.topic, partition.partition)
        if epochs is None or not records:
            return records
        last = frames.notes.epoch
        if last != UNKNOWN and last == epochs.at(records[0].offset) == epochs.at(records[-1].offset):
            return records  # as ever between two elections of a leader
        for place, record in enumerate(records):
            epoch = epochs.at(record.offset)
            if not frames.notes.admits(epoch):
                ownership.consumer.seek(partition, record.offset)
                ownership.watch.doubt()
                return records[:place]
            frames.notes.read(record.offset, epoch)
        return records

    def _frame(self, record: ConsumerRecord, frames: ReadAhead) -> Frame:
        position = Position(record.topic, record.partition, record.offset, frames.topic_id)
        crashes = frames.notes.take(record.offset)
        try:
            return read_frame(
                crashes=crashes,
                position=position,
                timestamp_ms=record.timestamp,
                key=record.key,
                value=record.value,
                headers=own_headers(record.headers),
                default_recipe=self._config.default_recipe,
                camera_recipes=self._config.camera_recipes,
                undecodable=undecodable(record.headers),
            )
        except Exception as error:  # a record can cost itself, never the worker
            return unread_frame(position, record.value, error, crashes=crashes)
