"""The partitions that a worker holds, and how they change hands when the group's members change.

`PartitionOwnership` owns the consumer, its membership of the group and the offsets. The source reads the partitions
that it has put into `ReadAheads`, through its consumer.

The consumer's protocol is eager: every rebalance takes all partitions from everybody and gives them out again. Frames
need not stop for that. Whether a commit is safe is decided by the partition's transactions (`transactions.py`), so a
partition that comes back goes on as if nothing had happened, with the frames that had been fetched judged and committed
meanwhile.

A partition that has moved is let go in order: its frames in flight may finish and commit for a moment, what is not done
by then is abandoned without a result, and the note with its offset says that nothing is in flight (`crash_notes.py`).
Its new owner learns from the assignor (`assignor.py`) that the former one lives, and waits for that note. Where the
former owner has crashed, the new one takes over at once, and tries the frames that may have been in flight alone.

Without transactions all partitions are let go before each rebalance: only the member that read them may commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from time import monotonic

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from patchline.stream.kafka.assignor import Claim, HandoverAssignor
from patchline.stream.kafka.cluster.log_break import PartedLogs
from patchline.stream.kafka.cluster.watch import TopicWatch
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import close, connect, new_consumer, source_errors
from patchline.stream.kafka.crash_notes import CrashNotes, has_left
from patchline.stream.kafka.offsets import FAREWELL_S, Offsets, committed_offset
from patchline.stream.kafka.read_ahead import ReadAhead, ReadAheads
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import LaneLostError, LogBreak, SourceUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.ports import Release
from patchline.stream.support.retry import retry_until_done

MAX_POLL_INTERVAL_S = 300
"""A consumer that is not polled for this long leaves its group."""
_HEARTBEAT_S = 0.3
"""Members learn of a rebalance by heartbeat, and wait for those that have not; nobody has frames for so long."""
_PARTITION_FETCH_BYTES = MIB
"""The bytes of one partition in one answer: with a long backlog every answer is as large as it may be."""
_LOOK_S = 0.03
"""The pause from one look at the former owner's note to the next."""


class PartitionOwnership(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Takes partitions over and lets them go, as a member of the consumer group.

    Args:
        config: brokers, topic, group and timeouts.
        offsets: commits the partitions' offsets.
        frames: is given each partition that may be read, and every error that nobody else would see.
        observer: told of assignments, of crashes found and of retries.
        release: lets the frames in flight of partitions go.
    """

    def __init__(
        self, config: KafkaConfig, offsets: Offsets, frames: ReadAheads, observer: Observer, release: Release
    ) -> None:
        self._config, self._offsets, self._frames = config, offsets, frames
        self._observer, self._release = observer, release
        self.committed: dict[TopicPartition, int | None] = {}
        """The next offset to be done of each partition that is this worker's; None before its first frame."""
        self._settled = asyncio.Event()
        self._closing = False
        self._held: set[TopicPartition] = set()
        self._round = 0
        self._taking: dict[TopicPartition, asyncio.Task[None]] = {}
        self._begun: set[TopicPartition] = set()
        """Those being taken over of which this worker may already have committed something."""
        self._letting_go: dict[TopicPartition, asyncio.Task[None]] = {}
        self._assignor = HandoverAssignor(self._claim)
        self.consumer = new_consumer(
            config,
            group_id=config.group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # the library would jump without a word
            isolation_level="read_committed",
            session_timeout_ms=round(config.session_timeout_s * 1000),
            heartbeat_interval_ms=round(min(_HEARTBEAT_S, config.session_timeout_s / 4) * 1000),
            max_poll_interval_ms=MAX_POLL_INTERVAL_S * 1000,
            # What waits in Kafka stays there. A larger record still comes, alone (KIP-74).
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
            fetch_max_bytes=config.fetch_max_bytes,
            partition_assignment_strategy=(self._assignor,),
        )
        self.watch = TopicWatch(config, self.consumer, observer, self)
        self.parted = PartedLogs(observer)

    @property
    def settled(self) -> bool:
        """Whether the consumer has the partitions held, which it has not during a rebalance."""
        return self._settled.is_set()

    async def join(self) -> None:
        """Connect, and join the group.

        Raises:
            SourceUnavailableError: no broker answers, or the topic is not there.
            SourceError: the brokers refuse.
        """
        with source_errors(self._config):
            await connect(self.consumer, self._config)
            try:
                if self._config.frames_topic not in await self.consumer.topics():
                    raise SourceUnavailableError(
                        f"Kafka at {self._config.bootstrap_servers} has no topic {self._config.frames_topic!r}, "
                        "or shows it only to who has the right to it (READ and DESCRIBE)"
                    )
                self._subscribe()
            except BaseException:
                await close(self.consumer)
                raise

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        """Commit that everything before `offset` is done, unless the partition was lost meanwhile.

        Raises:
            SourceUnavailableError, SinkUnavailableError: not now.
            SourceError, SinkError: the brokers refuse.
        """
        if self._closing or partition not in self.committed:
            return
        await self._offsets.commit(partition, offset)
        if partition in self.committed:
            self.committed[partition] = offset

    def guarded(self, work: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        """Run something as a task whose failure stops the source."""

        async def watched() -> None:
            with self._frames.failing(), source_errors(self._config):
                await work()

        return asyncio.create_task(watched())

    async def close(self) -> None:
        """Let everything go, leave the group and disconnect.

        A partition with frames in flight is left without the note that it was left in order, so its next owner takes
        it for one of a worker that crashed.
        """
        self._closing = True
        for task in self._taking.values():
            task.cancel()
        await asyncio.gather(*self._taking.values(), return_exceptions=True)
        held = {(partition.topic, partition.partition): partition for partition in self.committed}
        for partition in self._letting_go:
            held.pop((partition.topic, partition.partition), None)
        crashed = await self._release(held, 0.0)
        await self._offsets.give_up([held[lane] for lane in held if lane not in crashed], in_order=True)
        if self._letting_go:
            _, late = await asyncio.wait(self._letting_go.values(), timeout=FAREWELL_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._held.clear()
        await close(self.consumer)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - all are
        """Called by the consumer before a rebalance, with all partitions it had."""
        with self._frames.failing(), source_errors(self._config):
            self._settled.clear()
            if not self._offsets.outlives_membership:
                for partition in list(self._held):
                    self._let_go(partition, self._config.revoke_timeout_s)
                self._held.clear()
                await asyncio.gather(*self._letting_go.values())

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by the consumer after a rebalance, with all partitions it has now."""
        with self._frames.failing(), source_errors(self._config):
            partitions = sorted(assigned)
            # What takes its time runs as tasks: the consumer sends no heartbeat before this callback returns.
            self._assigned(partitions)
            self._observer.partitions(self._config.frames_topic, [partition.partition for partition in partitions])
            self.watch.hindered = None

    def notes(self) -> Mapping[TopicPartition, tuple[CrashNotes, int]]:
        """See `Watched`."""
        return {partition: (frames.notes, frames.next_offset) for partition, frames in self._frames}

    def take_anew(self, partition: TopicPartition, cause: LogBreak) -> None:
        """See `Watched`. What is in flight may finish for a moment, and is committed as before."""
        if partition in self._held and partition in self._frames and not self._closing:
            self.parted.expect(partition, cause)
            self._let_go(partition, self._config.revoke_timeout_s)
            self._taking[partition] = self.guarded(partial(self._take_over, partition, waits=False))

    def _claim(self) -> Claim:
        """What to tell the group."""
        return Claim(
            round=self._round,
            held=sorted(self._held),
            open=sorted({*(partition for partition, _ in self._frames), *self._begun, *self._letting_go}),
        )

    def _subscribe(self) -> None:
        """Join the group, or ask it anew who has what."""
        self.consumer.subscribe([self._config.frames_topic], listener=self)

    def _assigned(self, partitions: list[TopicPartition]) -> None:
        if self._closing:
            return
        terms = self._assignor.terms
        for partition in self._held.difference(partitions):
            self._let_go(partition, self._config.revoke_timeout_s)
        if terms.round != self._round + 1:
            for partition in self._held.intersection(partitions):
                self._let_go(partition, 0.0)  # this worker was given up for a while, and others had it
        self._round = terms.round
        self._settled.set()
        self._held = set(partitions)
        for partition in partitions:
            self.committed.setdefault(partition)
            if (frames := self._frames.get(partition)) is not None:
                self.consumer.seek(partition, frames.next_offset)
            elif partition not in self._taking:
                taking = partial(self._take_over, partition, waits=partition in terms.handed_over)
                self._taking[partition] = self.guarded(taking)

    def _lost(self, partition: TopicPartition) -> None:
        """Another worker has taken a partition over. The group is asked anew, unless that was known."""
        if partition in self._held:
            self._held.discard(partition)
            self._let_go(partition, 0.0)
            self._rejoin()

    def _rejoin(self) -> None:
        """A partition turned out to be another worker's: ask the group who has what, unless it is being asked."""
        if self.settled and not self._closing:
            self._settled.clear()
            self._subscribe()

    def _let_go(self, partition: TopicPartition, timeout_s: float) -> None:
        self._frames.drop(partition)
        taking = self._taking.pop(partition, None)
        if taking is not None and partition not in self._begun:
            taking.cancel()
        before = self._letting_go.get(partition)

        async def let_go() -> None:
            if taking is not None:  # what it has begun it ends, for then it can be let go in order
                await asyncio.wait([taking], timeout=FAREWELL_S)
                taking.cancel()
            await asyncio.gather(*(task for task in (taking, before) if task is not None), return_exceptions=True)
            try:
                await self._release([(partition.topic, partition.partition)], timeout_s)
                await self._offsets.give_up([partition], in_order=True)
            finally:
                if self._letting_go.get(partition) is task:
                    del self._letting_go[partition]
                if partition not in self._held:
                    self.committed.pop(partition, None)

        task = self._letting_go[partition] = self.guarded(let_go)

    async def _take_over(self, partition: TopicPartition, *, waits: bool) -> None:
        name = f"partition {partition.partition} of {partition.topic}"
        if (before := self._letting_go.get(partition)) is not None:
            await asyncio.wait([before])
        if waits:
            await self._until_left(partition)
        await self._settled.wait()  # the group has been told of all that had begun by then
        self._begun.add(partition)
        take_over = partial(self._offsets.take_over, partition, self.consumer, self._lost, self.watch.known)
        try:
            taken = await retry_until_done(name, take_over, self._observer)
        except LaneLostError as lost:
            self._observer.retrying(name, lost, 1)
            if self._ends_taking(partition):
                self._held.discard(partition)
                self._rejoin()
            return
        finally:
            self._begun.discard(partition)
        if not self._ends_taking(partition):
            return
        self.committed[partition] = taken.start
        self.parted.taken(partition, taken.parted, taken.start, self.watch.saw(taken.notes.log))
        if suspects := taken.notes.suspects(taken.start):
            self._observer.crash_found(partition.topic, partition.partition, suspects)
        if self.settled:
            self.consumer.seek(partition, taken.start)
        self._frames.add(partition, ReadAhead(self._config, taken.notes, taken.start))

    def _ends_taking(self, partition: TopicPartition) -> bool:
        """Whether the partition is still wanted by the task that has taken it over, which is this one."""
        if self._taking.get(partition) is not asyncio.current_task():
            return False
        del self._taking[partition]
        return True

    async def _until_left(self, partition: TopicPartition) -> None:
        """Wait until the partition's former owner has let it go, or should have."""
        until = monotonic() + self._config.revoke_timeout_s + FAREWELL_S
        while monotonic() < until:
            with suppress(KafkaError):
                found = await committed_offset(self.consumer, partition)
                if found is None or has_left(found.metadata or ""):
                    return
            await asyncio.sleep(_LOOK_S)
