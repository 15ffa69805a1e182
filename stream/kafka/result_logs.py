"""The results topic as logs for the alarms: one log a partition, shared among workers by a consumer group of its own.

Only committed results are read, in the order of each partition; those of one camera are all in one partition. The topic
keeps what is not applied yet. No offset is committed to Kafka, because Redis knows the position.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from patchline.engine.types import Verdict
from patchline.stream.alarms.logs import IDLE_WAIT_S, Follower, Run
from patchline.stream.kafka.batches.placeholders import decoded_headers
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import close, connect, describe, new_consumer, sink_error, sink_errors
from patchline.stream.model.alarm import Observation, check_observed, observation_of
from patchline.stream.model.errors import AlarmGap, Foreign, RecordError, SinkError, SinkUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.model.outcome import Outcome
from patchline.stream.wire.results import read_frame_position, read_result

_LOG_POLL_MS = round(IDLE_WAIT_S * 1000)
_RECORDS_AT_ONCE = 500
_NEVER_MS = 2**31 - 1
_LONGEST_DETAIL = 300


class KafkaResultLogs(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """The results topic as `ResultLogs`.

    Args:
        config: brokers, topics and group.
        rebuild_s: where Redis has no position of a partition, results of so many seconds are read again.
        observer: told of results that had expired, and how many wait.
    """

    def __init__(self, config: KafkaConfig, *, rebuild_s: float = 86_400, observer: Observer | None = None) -> None:
        self._config, self._rebuild_s = config, rebuild_s
        self._observer = observer or Observer()
        self._consumer: AIOKafkaConsumer | None = None
        self._follower: Follower | None = None
        self._logs: dict[TopicPartition, _PartitionLog] = {}
        self._counting: asyncio.Task[None] | None = None

    @property
    def group(self) -> str:
        """The consumer group that shares the partitions of results."""
        return f"{self._config.group}.alarms"

    async def open(self, follower: Follower) -> None:
        """Join the group; partitions are followed as they are assigned.

        Raises:
            SinkUnavailableError: no broker answers.
            SinkError: the brokers refuse.
        """
        self._follower = follower
        consumer = new_consumer(
            self._config,
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # each log begins where Redis is, and says what it passes over
            isolation_level="read_committed",
            fetch_max_wait_ms=_LOG_POLL_MS,  # a log that is begun anew waits for the fetch that is under way
            session_timeout_ms=round(self._config.session_timeout_s * 1000),
            heartbeat_interval_ms=round(self._config.session_timeout_s * 1000 / 4),
            max_poll_interval_ms=_NEVER_MS,  # nothing is read while Redis is away
        )
        with sink_errors(self._config):
            self._consumer = await connect(consumer, self._config)
        consumer.subscribe([self._config.results_topic], listener=self)
        self._counting = asyncio.create_task(self._count(consumer))

    async def put(self, outcomes: Sequence[Outcome]) -> None:
        """Do nothing, because the ledger or another sink puts results into the topic."""

    async def close(self) -> None:
        """Leave the group and disconnect."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        consumer, self._consumer = self._consumer, None
        await close(consumer)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - all are
        """Called by the consumer before a rebalance, with all partitions it had."""
        follower = self._follower
        if follower is not None:
            await asyncio.gather(*(follower.stop(_name(partition)) for partition in list(self._logs)))
        self._logs.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by the consumer after a rebalance, with all partitions it has now."""
        if self._consumer is None or self._follower is None:
            return
        for partition in assigned:
            log = _PartitionLog(self._consumer, partition, self._config, self._rebuild_s, self._observer)
            self._logs[partition] = log
            self._follower.start(log)

    async def _count(self, consumer: AIOKafkaConsumer) -> None:
        """Tell how many results wait for Redis, and learn what the group refuses where no partition is followed."""
        nothing = TopicPartition(self._config.results_topic, -1)
        while True:
            await asyncio.sleep(self._config.lag_interval_s)
            try:
                await consumer.getmany(nothing, timeout_ms=0)
                waiting = [await log.waiting() for log in list(self._logs.values())]
                self._observer.queue_depth("alarm_log", sum(waiting))
            except KafkaError as error:
                self._report(_translated(error, self._config))
            except SinkError as error:
                self._report(error)
            except Exception as error:  # nobody awaits this task: it goes on, and says what it met
                self._observer.retrying(f"results that wait in {self._config.results_topic}", error, 1)

    def _report(self, error: SinkError) -> None:
        if not error.retriable and self._follower is not None:
            self._follower.failed(error)


class _PartitionLog:
    """One partition of the results topic, a `ResultLog`."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        partition: TopicPartition,
        config: KafkaConfig,
        rebuild_s: float,
        observer: Observer,
    ) -> None:
        self._consumer, self._partition, self._config = consumer, partition, config
        self._rebuild_s, self._observer = rebuild_s, observer
        self._handed = self._applied = 0
        """The positions behind what was read, and behind what is applied."""

    @property
    def name(self) -> str:
        return _name(self._partition)

    @property
    def rebuilds(self) -> bool:
        return True

    async def begin(self, position: int | None) -> None:
        partition = self._partition
        first = (await self._ask(self._consumer.beginning_offsets, [partition]))[partition]
        end = (await self._ask(self._consumer.end_offsets, [partition]))[partition]
        if position is None:
            since_ms = round((time.time() - self._rebuild_s) * 1000)
            found = (await self._ask(self._consumer.offsets_for_times, {partition: max(0, since_ms)}))[partition]
            position = end if found is None else int(found.offset)
        elif position > end:
            position = first  # the topic was made anew
        elif position < first:
            self._observer.alarm_gap(AlarmGap.EXPIRED, first - position)
            position = first
        try:
            self._consumer.seek(partition, position)
        except KafkaError as error:
            raise _translated(error, self._config) from error
        self._handed = self._applied = position

    async def read(self) -> Run:
        fetched = await self._ask(self._fetch, self._partition)
        records = fetched.get(self._partition, [])
        if not records:
            return [], None
        run: list[Observation] = []
        for record in records:
            try:
                result = read_result(decoded_headers(record), record.value)
                seen = observation_of(result, read_frame_position(record.headers))
                check_observed(seen)
            except (RecordError, ValueError) as error:  # what is no result of ours says nothing to an alarm
                where = f"{self.name}/{record.offset}"
                self._observer.foreign(Foreign.RESULT, f"{where}: {str(error)[:_LONGEST_DETAIL]}")
                continue
            if seen.verdict is not Verdict.NOT_INSPECTED:
                run.append(seen)
        self._handed = int(records[-1].offset) + 1
        return run, self._handed

    async def _fetch(self, partition: TopicPartition) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        """The next records; none where the log no longer has what comes next: then it is begun anew, and that told."""
        try:
            records: Mapping[TopicPartition, Sequence[ConsumerRecord]] = await self._consumer.getmany(
                partition, timeout_ms=_LOG_POLL_MS, max_records=_RECORDS_AT_ONCE
            )
        except OffsetOutOfRangeError:
            await self.begin(self._handed)
            return {}
        return records

    async def applied(self, position: int) -> None:
        self._applied = position

    async def is_empty(self) -> bool:
        return await self.waiting() == 0

    async def waiting(self) -> int:
        """About how many results are not applied: ends of transactions have offsets too."""
        end = (await self._ask(self._consumer.end_offsets, [self._partition]))[self._partition]
        done = self._applied
        if self._applied == self._handed:
            done = max(done, await self._ask(self._consumer.position, self._partition))
        return max(0, int(end) - done)

    async def _ask(self, request: Callable[[Any], Awaitable[Any]], about: Any) -> Any:
        try:
            return await request(about)
        except KafkaError as error:
            raise _translated(error, self._config) from error


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}/{partition.partition}"


def _translated(error: KafkaError, config: KafkaConfig) -> SinkError:
    # A partition that is not assigned is being rebalanced; aiokafka wraps what it did not expect in the plain class.
    if isinstance(error, IllegalStateError | NoOffsetForPartitionError) or type(error) is KafkaError:
        return SinkUnavailableError(describe(error, config))
    return sink_error(error, config)
