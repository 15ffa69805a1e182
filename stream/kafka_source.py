"""Frames from a Kafka topic, shared among workers by a consumer group.

Records wait in one small buffer a partition. A partition whose buffer is full is not polled, so nothing more of it is
fetched and the others go on: that is how a full queue slows Kafka down. The consumer's own task keeps the heartbeat.

Offsets are committed after the pipeline has settled the frames: by hand, or by the ledger in the transaction of their
results. A partition is read only once it was taken over: from the offset that was committed then, whatever the consumer
had fetched before. Where its former owner crashed, the frames that may have been in flight are to be tried alone.

When partitions are lost, their frames in flight may finish and commit for a moment; what is not done by then is
abandoned, without a result, and read again by the worker that has the partition now.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from stream.cloudevents import read_frame
from stream.config import MIB, RECORD_HEADROOM_BYTES, KafkaConfig, Limits
from stream.errors import LaneLostError, SourceError, SourceUnavailableError
from stream.frame import Frame, Position
from stream.kafka_access import start
from stream.kafka_client import client_options, describe, is_passing
from stream.kafka_ledger import KafkaLedger
from stream.kafka_offsets import KafkaOffsets, Offsets
from stream.kafka_read_ahead import ReadAhead
from stream.observer import NullObserver, Observer
from stream.ports import Release
from stream.retry import persist

_POLL_MS = 200
_TURN_FRAMES = 4
_HEARTBEAT_S = 0.3
"""Heartbeats tell members of a rebalance, and those that know wait for those that do not: so long nobody has frames."""
_MAX_POLL_INTERVAL_S = 300


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """The frames topic. A `ReplayableSource`.

    Args:
        config: brokers, topic, group and buffers.
        max_frame_bytes: records up to this size, and the headroom, are fetched whole.
        observer: told of lag, assignment and retries.
        ledger: commits offsets together with results. None: they are committed here.
        window: frames of a partition that may be in flight at once, where there is no ledger.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        max_frame_bytes: int = 32 * MIB,
        observer: Observer | None = None,
        ledger: KafkaLedger | None = None,
        window: int = Limits().max_in_flight,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._offsets: Offsets = KafkaOffsets(config, window=window) if ledger is None else ledger
        self._max_frame_bytes = max_frame_bytes
        self._observer = observer or NullObserver()
        self._consumer: AIOKafkaConsumer | None = None
        self._release: Release | None = None
        self._buffers: dict[TopicPartition, ReadAhead] = {}
        self._turns: deque[TopicPartition] = deque()
        self._left_of_turn = 0
        self._committed: dict[TopicPartition, int | None] = {}
        """Of each partition held: the next offset to be done; None before its first frame."""
        self._filled, self._drained = asyncio.Event(), asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._taking_over: list[asyncio.Task[None]] = []
        self._rebalancing = False

    def bind(self, release: Release) -> None:
        """See `ReplayableSource`."""
        self._release = release

    async def open(self) -> None:
        """Join the consumer group.

        Raises:
            SourceUnavailableError: no broker answers, or the topic is not there.
            SourceError: the brokers refuse.
        """
        if self._ledger is not None:
            self._ledger.bind(self._rejoin)
        record_bytes = self._max_frame_bytes + RECORD_HEADROOM_BYTES
        consumer = AIOKafkaConsumer(
            **client_options(self._config),
            group_id=self._config.group,
            enable_auto_commit=False,
            auto_offset_reset=self._config.start,
            isolation_level="read_committed",
            session_timeout_ms=round(self._config.session_timeout_s * 1000),
            heartbeat_interval_ms=round(min(_HEARTBEAT_S, self._config.session_timeout_s / 4) * 1000),
            max_poll_interval_ms=_MAX_POLL_INTERVAL_S * 1000,
            max_partition_fetch_bytes=record_bytes,
            fetch_max_bytes=max(self._config.fetch_max_bytes, record_bytes),
        )
        try:
            await start(consumer, self._config)
            if self._config.frames_topic not in await consumer.topics():
                raise SourceUnavailableError(
                    f"Kafka at {self._config.bootstrap_servers} has no topic {self._config.frames_topic!r}, "
                    "or shows it only to who has the right to it (READ and DESCRIBE)"
                )
            self._consumer = consumer
            consumer.subscribe([self._config.frames_topic], listener=self)
        except (KafkaError, SourceUnavailableError) as error:
            self._consumer = None
            await consumer.stop()
            raise self._translated(error) from error
        self._tasks = [asyncio.create_task(self._watched(loop)) for loop in (self._poll, self._watch_lag)]

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The next frame, partition by partition in turns of a few frames. It never ends by itself.

        Frames that arrive together are judged together: a batch then has few partitions, and few transactions.
        """
        while True:
            if self._failure is not None:
                raise self._failure
            for _ in range(len(self._turns) + 1 if self._turns else 0):
                buffer = self._buffers[self._turns[-1]]
                if self._left_of_turn and buffer.frames:
                    self._left_of_turn -= 1
                    frame = buffer.pop()
                    self._drained.set()
                    return frame
                self._turns.rotate(-1)
                self._left_of_turn = _TURN_FRAMES
            self._filled.clear()
            await self._filled.wait()

    async def commit(self, position: Position) -> None:
        """See `ReplayableSource`. A partition that was lost meanwhile is not this worker's to commit."""
        partition = TopicPartition(position.topic, position.partition)
        if self._consumer is None or partition not in self._committed:
            return
        await self._offsets.commit(partition, position.offset + 1)
        if partition in self._committed:
            self._committed[partition] = position.offset + 1

    async def try_alone(self, position: Position) -> None:
        """See `ReplayableSource`."""
        await self._offsets.try_alone(TopicPartition(position.topic, position.partition), position.offset)

    async def close(self) -> None:
        """Leave the group and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stop_taking_over()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._leave_in_order()
            self._release = None  # everything is settled or given up; leaving the group has nobody to wait for
            await consumer.stop()

    async def _leave_in_order(self) -> None:
        """Say so of the partitions that have no frame in flight; the others' owner has crashed, as far as they go."""
        held = {(partition.topic, partition.partition): partition for partition in self._committed}
        crashed = await self._release(held, 0.0) if self._release is not None else []
        settled = [partition for lane, partition in held.items() if lane not in crashed]
        await self._offsets.give_up(settled, in_order=True)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called by the consumer before a rebalance, with all partitions it had."""
        with _Failures(self):
            revoked = list(revoked)
            self._rebalancing = True
            await self._stop_taking_over()
            self._buffers.clear()
            self._turns.clear()
            if self._release is not None and revoked:
                lanes = [(partition.topic, partition.partition) for partition in revoked]
                await self._release(lanes, self._config.revoke_timeout_s)
            await self._offsets.give_up(revoked, in_order=True)
            self._committed.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by the consumer after a rebalance, with all partitions it has now."""
        with _Failures(self):
            partitions = sorted(assigned)
            self._rebalancing = False
            self._committed = dict.fromkeys(partitions)
            if self._consumer is not None:
                # As tasks: the consumer sends no heartbeat before this callback returns.
                taking = [self._take_over(partition, self._consumer) for partition in partitions]
                self._taking_over += map(asyncio.create_task, taking)
            self._observer.partitions(self._config.frames_topic, [partition.partition for partition in partitions])

    async def _take_over(self, partition: TopicPartition, consumer: AIOKafkaConsumer) -> None:
        with _Failures(self):
            name = f"partition {partition.partition} of {partition.topic}"
            try:
                taken = await persist(name, lambda: self._offsets.take_over(partition, consumer), self._observer)
            except LaneLostError as lost:
                self._observer.retrying(name, lost, 1)
                self._rejoin()
                return
            self._committed[partition] = taken.start
            if suspects := taken.notes.suspects(taken.start):
                self._observer.crash_found(partition.topic, partition.partition, suspects)
            consumer.seek(partition, taken.start)
            self._buffers[partition] = ReadAhead(self._config, taken.notes)
            self._turns.append(partition)
            self._drained.set()

    async def _stop_taking_over(self) -> None:
        for task in self._taking_over:
            task.cancel()
        await asyncio.gather(*self._taking_over, return_exceptions=True)
        self._taking_over = []

    def _rejoin(self) -> None:
        """A partition turned out to be another worker's: ask the group who has what, unless it is being asked."""
        if self._consumer is None or self._rebalancing:
            return
        self._rebalancing = True
        for task in self._taking_over:
            task.cancel()  # the consumer knows of no assignment from here on
        self._consumer.subscribe([self._config.frames_topic], listener=self)

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        # Of no partition that exists. Polling it says that this worker lives, and leaves what was fetched alone.
        nothing = TopicPartition(self._config.frames_topic, -1)
        while True:
            wanted = [partition for partition, buffer in self._buffers.items() if not buffer.full]
            most = self._config.partition_buffer_frames
            try:
                if wanted:
                    fetched = await consumer.getmany(*wanted, timeout_ms=_POLL_MS, max_records=most)
                else:
                    # Full, or not yet taken over: records of such a partition must stay where they are.
                    self._drained.clear()
                    fetched = await consumer.getmany(nothing, timeout_ms=0)
            except KafkaError as error:
                if not is_passing(error):
                    raise
                self._observer.retrying("Kafka frames", error, 1)
                await asyncio.sleep(1)
                continue
            if not wanted:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_MAX_POLL_INTERVAL_S / 10 if self._buffers else _POLL_MS / 1000):
                        await self._drained.wait()
                continue
            for partition, records in fetched.items():
                if (buffer := self._buffers.get(partition)) is not None:
                    for record in records:
                        buffer.push(self._frame(record, buffer.notes.take(record.offset)))
            self._filled.set()
            self._observer.queue_depth("kafka_buffer", sum(len(buffer.frames) for buffer in self._buffers.values()))

    def _frame(self, record: ConsumerRecord, crashes: int | None) -> Frame:
        return read_frame(
            crashes=crashes,
            position=Position(record.topic, record.partition, record.offset),
            timestamp_ms=record.timestamp,
            key=record.key,
            value=record.value,
            headers=record.headers,
            default_recipe=self._config.default_recipe,
            camera_recipes=self._config.camera_recipes,
        )

    async def _watch_lag(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await asyncio.sleep(self._config.lag_interval_s)
            try:
                ends = await consumer.end_offsets(list(self._committed))
                for partition, end in ends.items():
                    done = self._committed.get(partition)
                    if done is None:
                        done = await consumer.position(partition)
                    self._observer.consumer_lag(partition.topic, partition.partition, max(0, end - done))
            except (KafkaError, IllegalStateError) as error:
                self._observer.retrying("consumer lag", error, 1)

    async def _watched(self, loop: Callable[[AIOKafkaConsumer], Awaitable[None]]) -> None:
        with _Failures(self):
            await loop(self._consumer)

    def _translated(self, error: Exception) -> Exception:
        if not isinstance(error, KafkaError):
            return error
        kind = SourceUnavailableError if is_passing(error) else SourceError
        return kind(describe(error, self._config))

    def fail(self, error: BaseException) -> None:
        """Let whoever waits for a frame have the error."""
        self._failure = self._translated(error) if isinstance(error, Exception) else error
        self._filled.set()


class _Failures:
    """Hands whatever is raised inside to the source's reader: aiokafka only logs what its callbacks raise."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            self._source.fail(error)
            return True
        return False
