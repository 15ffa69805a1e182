"""Frames from a Kafka topic, shared among workers by a consumer group.

Records wait in one small buffer a partition. A partition whose buffer is full is not polled, so nothing more of it is
fetched and the others go on: that is how a full queue slows Kafka down. The consumer's own task keeps the heartbeat.

Offsets are committed after the pipeline has settled the frames: by hand, or by the ledger in the transaction of their
results. Which partitions are read, from where on, and what happens to their frames when they move to another worker is
`kafka_holdings.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from patchline.stream.kafka.assignor import HandoverAssignor
from patchline.stream.kafka.at_least_once import KafkaOffsets
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import client_options, describe, is_passing, start
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.kafka.lag import watch_lag
from patchline.stream.kafka.offsets import Offsets
from patchline.stream.kafka.partitions import PartitionOwnership
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import SourceError, SourceUnavailableError
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.ports import Release
from patchline.stream.wire.frames import read_frame


class Failures:
    """A context that hands what is raised inside to `told`: callbacks of others, who would only log it."""

    def __init__(self, told: Callable[[Exception], None]) -> None:
        self._told = told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            self._told(error)
            return True
        return False


_POLL_MS = 50
_IDLE_POLL_MS = 1000
"""Where all partitions are asked for: nothing but a new one would be missed."""
_PARTITION_FETCH_BYTES = MIB
"""Of one partition in one answer: with a long backlog every answer is as large as it may be."""
_HEARTBEAT_S = 0.3
"""Heartbeats tell members of a rebalance, and those that know wait for those that do not: so long nobody has frames."""
_MAX_POLL_INTERVAL_S = 300


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """The frames topic. A `ReplayableSource`.

    Args:
        config: brokers, topic, group and buffers.
        observer: told of lag, assignment and retries.
        ledger: commits offsets together with results. None: they are committed here.
        window: frames of a partition that may be in flight at once, where there is no ledger.
        urgent: whether a camera's frames go first when the engine is short.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        observer: Observer | None = None,
        ledger: ExactlyOnceSink | None = None,
        window: int = Limits().max_in_flight,
        urgent: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._offsets: Offsets = KafkaOffsets(config, window=window) if ledger is None else ledger
        self._observer = observer or Observer()
        self._consumer: AIOKafkaConsumer | None = None
        self._holdings = PartitionOwnership(
            config,
            self._offsets,
            self._observer,
            guarded=self._task,
            on_taken=self._look_again,
            on_other=self._rejoin,
            urgent=urgent,
        )
        self._assignor = HandoverAssignor(self._holdings.claim)
        self._filled, self._drained = asyncio.Event(), asyncio.Event()
        self._asked = False
        """Whether a frame is waited for."""
        self._fetching: asyncio.Timeout | None = None
        """While records are waited for: expires when there may be others to wait for."""
        self._failure: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def bind(self, release: Release) -> None:
        """See `ReplayableSource`."""
        self._holdings.release = release

    async def open(self) -> None:
        """Join the consumer group.

        Raises:
            SourceUnavailableError: no broker answers, or the topic is not there.
            SourceError: the brokers refuse.
        """
        if self._ledger is not None:
            self._ledger.bind(self._holdings.lost)
        consumer = AIOKafkaConsumer(
            **client_options(self._config),
            group_id=self._config.group,
            enable_auto_commit=False,
            auto_offset_reset=self._config.start,
            isolation_level="read_committed",
            session_timeout_ms=round(self._config.session_timeout_s * 1000),
            heartbeat_interval_ms=round(min(_HEARTBEAT_S, self._config.session_timeout_s / 4) * 1000),
            max_poll_interval_ms=_MAX_POLL_INTERVAL_S * 1000,
            # What waits in Kafka stays there. A larger record still comes, alone (KIP-74).
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            fetch_max_bytes=self._config.fetch_max_bytes,
            partition_assignment_strategy=(self._assignor,),
        )
        try:
            await start(consumer, self._config)
            if self._config.frames_topic not in await consumer.topics():
                raise SourceUnavailableError(
                    f"Kafka at {self._config.bootstrap_servers} has no topic {self._config.frames_topic!r}, "
                    "or shows it only to who has the right to it (READ and DESCRIBE)"
                )
            self._consumer = self._holdings.consumer = consumer
            consumer.subscribe([self._config.frames_topic], listener=self)
        except (KafkaError, SourceUnavailableError) as error:
            self._consumer = self._holdings.consumer = None
            await consumer.stop()
            raise self._translated(error) from error
        every_s, committed = self._config.lag_interval_s, self._holdings.committed
        lags = partial(watch_lag, consumer, committed, self._observer, interval_s=every_s)
        self._tasks = [self._task(lambda: self._poll(consumer)), self._task(lags)]

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The next frame, partition by partition in turns of a few frames. It never ends by itself."""
        while True:
            if self._failure is not None:
                raise self._failure
            if (frame := self._holdings.frames.pop()) is not None:
                self._drained.set()
                return frame
            self._filled.clear()
            self._asked = True
            self._drained.set()
            await self._filled.wait()
            self._asked = False

    def begin_batch(self) -> None:
        """See `ReplayableSource`."""
        self._holdings.frames.end_turn()

    async def commit(self, position: Position) -> None:
        """See `ReplayableSource`. A partition that was lost meanwhile is not this worker's to commit."""
        partition, committed = TopicPartition(position.topic, position.partition), self._holdings.committed
        if self._consumer is None or partition not in committed:
            return
        await self._offsets.commit(partition, position.offset + 1)
        if partition in committed:
            committed[partition] = position.offset + 1

    async def try_alone(self, position: Position) -> None:
        """See `ReplayableSource`."""
        await self._offsets.try_alone(TopicPartition(position.topic, position.partition), position.offset)

    async def close(self) -> None:
        """Leave the group and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await self._holdings.close()
            await consumer.stop()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - all are
        """Called by the consumer before a rebalance, with all partitions it had."""
        with Failures(self.fail):
            self._holdings.unsettle()
            if self._ledger is None:
                await self._holdings.let_all_go()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by the consumer after a rebalance, with all partitions it has now."""
        with Failures(self.fail):
            partitions = sorted(assigned)
            # What takes its time runs as tasks: the consumer sends no heartbeat before this callback returns.
            self._holdings.assigned(partitions, self._assignor.terms)
            self._observer.partitions(self._config.frames_topic, [partition.partition for partition in partitions])

    def _rejoin(self) -> None:
        """A partition turned out to be another worker's: ask the group who has what, unless it is being asked."""
        if self._consumer is None or not self._holdings.settled:
            return
        self._holdings.unsettle()
        self._consumer.subscribe([self._config.frames_topic], listener=self)

    def _look_again(self) -> None:
        """There is a partition more to be read."""
        self._drained.set()
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            fetching.reschedule(asyncio.get_running_loop().time())

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        # Of no partition that exists. Polling it says that this worker lives, and leaves what was fetched alone.
        nothing = TopicPartition(self._config.frames_topic, -1)
        buffers = self._holdings.frames
        while True:
            wanted = self._wanted()
            try:
                if wanted:
                    fetched = await self._fetch(consumer, wanted)
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
                    async with asyncio.timeout(_MAX_POLL_INTERVAL_S / 10 if len(buffers) else _IDLE_POLL_MS / 1000):
                        await self._drained.wait()
                continue
            if not self._holdings.settled:
                continue  # of the time before the rebalance: what is still this worker's is fetched again
            for partition, records in fetched.items():
                if (buffer := buffers.get(partition)) is not None:
                    for record in records:
                        if record.offset >= buffer.next_offset:
                            buffer.push(self._frame(record, buffer.notes.take(record.offset)), record.offset)
            self._filled.set()
            self._observer.queue_depth("kafka_buffer", buffers.waiting)

    def _wanted(self) -> list[TopicPartition]:
        """The partitions to be read now."""
        buffers = self._holdings.frames
        if self._config.partition_buffer_frames:
            return [partition for partition, buffer in buffers if not buffer.full]
        return buffers.in_turn() if self._asked and not buffers.waiting else []

    async def _fetch(
        self, consumer: AIOKafkaConsumer, wanted: Sequence[TopicPartition]
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Records of these partitions, as they come."""
        fetched: dict[TopicPartition, list[ConsumerRecord]]
        most = self._config.partition_buffer_frames
        for partition in wanted if most == 0 else ():  # what the consumer has fetched already: by turns
            fetched = await consumer.getmany(partition, timeout_ms=0, max_records=1)
            if fetched:
                return fetched
        poll_ms = _IDLE_POLL_MS if len(wanted) == len(self._holdings.frames) else _POLL_MS
        try:
            async with asyncio.timeout(None) as self._fetching:
                fetched = await consumer.getmany(*wanted, timeout_ms=poll_ms, max_records=most or 1)
        except TimeoutError:
            fetched = {}  # no record is lost by it: they are taken after the wait
        finally:
            self._fetching = None
        return fetched

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

    def _task(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Whose failure is the source's."""

        async def watched() -> None:
            with Failures(self.fail):
                await work()

        return asyncio.create_task(watched())

    def _translated(self, error: Exception) -> Exception:
        if not isinstance(error, KafkaError):
            return error
        kind = SourceUnavailableError if is_passing(error) else SourceError
        return kind(describe(error, self._config))

    def fail(self, error: BaseException) -> None:
        """Let whoever waits for a frame have the error."""
        self._failure = self._translated(error) if isinstance(error, Exception) else error
        self._filled.set()
