"""The partitions that a worker holds, and how they change hands when the group's members change.

The consumer's protocol is eager: every rebalance takes all partitions from everybody and gives them out again. Frames
need not stop for that. What is safe is decided by the partition's transactions (`transactions.py`), so a partition that
comes back goes on as if nothing had happened, with the frames that had been fetched judged and committed meanwhile.

One that has moved is let go in order: its frames in flight may finish and commit for a moment, what is not done by then
is abandoned, without a result, and the notes with its offset say that nothing is in flight (`in_flight_notes.py`).
Its new owner, who knows from the assignor (`kafka_assignor.py`) that the former one lives, waits for that; where the
former owner has crashed it takes over at once, and tries the frames that may have been in flight alone.

Without transactions all partitions are let go before each rebalance: only the member that read them may commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from patchline.stream.kafka.assignor import Claim, Terms
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import has_left
from patchline.stream.kafka.offsets import FAREWELL_S, Offsets, committed_offset
from patchline.stream.kafka.read_ahead import ReadAhead, ReadAheads
from patchline.stream.model.errors import LaneLostError
from patchline.stream.model.observer import Observer
from patchline.stream.ports import Release
from patchline.stream.support.retry import retry_until_done

_LOOK_S = 0.03


class PartitionOwnership:
    """Takes partitions over and lets them go.

    Args:
        config: brokers, group and timeouts.
        offsets: commits the partitions' offsets.
        observer: told of crashes found and of retries.
        guarded: runs a coroutine as a task whose failure stops the source.
        on_taken: told of each partition that may be read from now on.
        on_other: told when a partition turned out to be another worker's.
        urgent: whether a camera's frames go first.
    """

    def __init__(
        self,
        config: KafkaConfig,
        offsets: Offsets,
        observer: Observer,
        *,
        guarded: Callable[[Callable[[], Awaitable[None]]], "asyncio.Task[None]"],
        on_taken: Callable[[], None],
        on_other: Callable[[], None],
        urgent: Callable[[str], bool],
    ) -> None:
        self._config, self._offsets, self._observer = config, offsets, observer
        self._guarded, self._on_taken, self._on_other = guarded, on_taken, on_other
        self.release: Release | None = None
        self.consumer: AIOKafkaConsumer | None = None
        self.frames = ReadAheads(urgent)
        """Of the partitions that may be read."""
        self.committed: dict[TopicPartition, int | None] = {}
        """Of each partition that is this worker's: the next offset to be done; None before its first frame."""
        self._settled = asyncio.Event()
        self._held: set[TopicPartition] = set()
        self._round = 0
        self._taking: dict[TopicPartition, asyncio.Task[None]] = {}
        self._begun: set[TopicPartition] = set()
        """Of those that are being taken over: what was committed may already be this worker's."""
        self._letting_go: dict[TopicPartition, asyncio.Task[None]] = {}

    @property
    def settled(self) -> bool:
        """Whether the consumer has the partitions held: not during a rebalance."""
        return self._settled.is_set()

    def unsettle(self) -> None:
        """A rebalance begins."""
        self._settled.clear()

    def claim(self) -> Claim:
        """What to tell the group."""
        return Claim(
            round=self._round,
            held=sorted(self._held),
            open=sorted({*(partition for partition, _ in self.frames), *self._begun, *self._letting_go}),
        )

    async def let_all_go(self) -> None:
        """Let all partitions go, and wait until they are."""
        for partition in list(self._held):
            self._let_go(partition, self._config.revoke_timeout_s)
        self._held.clear()
        await asyncio.gather(*self._letting_go.values())

    def assigned(self, partitions: Collection[TopicPartition], terms: Terms) -> None:
        """The group has given out its partitions anew, and these are this worker's."""
        if self.consumer is None:
            return
        for partition in self._held.difference(partitions):
            self._let_go(partition, self._config.revoke_timeout_s)
        if terms.round != self._round + 1:
            for partition in self._held.intersection(partitions):
                self._let_go(partition, 0.0)  # this worker was given up for a while, and others had it
        self._round = terms.round
        self._settled.set()
        self._held = set(partitions)
        for partition in sorted(partitions):
            self.committed.setdefault(partition)
            if (frames := self.frames.get(partition)) is not None:
                self._seek(partition, frames)
            elif partition not in self._taking:
                taking = partial(self._take_over, partition, waits=partition in terms.handed_over)
                self._taking[partition] = self._guarded(taking)

    def lost(self, partition: TopicPartition) -> None:
        """Another worker has taken a partition over. The group is asked anew, unless that was known."""
        if partition not in self._held:
            return
        self._held.discard(partition)
        self._let_go(partition, 0.0)
        self._on_other()

    async def close(self) -> None:
        """Let everything go that has no frame in flight; the others' owner has crashed, as far as they go."""
        for task in self._taking.values():
            task.cancel()
        await asyncio.gather(*self._taking.values(), return_exceptions=True)
        held = {(partition.topic, partition.partition): partition for partition in self.committed}
        for partition in self._letting_go:
            held.pop((partition.topic, partition.partition), None)
        crashed = await self.release(held, 0.0) if self.release is not None else []
        await self._offsets.give_up([held[lane] for lane in held if lane not in crashed], in_order=True)
        if self._letting_go:
            _, late = await asyncio.wait(self._letting_go.values(), timeout=FAREWELL_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._held.clear()
        self.consumer = None

    def _let_go(self, partition: TopicPartition, timeout_s: float) -> None:
        self.frames.drop(partition)
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
                if self.release is not None:
                    await self.release([(partition.topic, partition.partition)], timeout_s)
                await self._offsets.give_up([partition], in_order=True)
            finally:
                if self._letting_go.get(partition) is task:
                    del self._letting_go[partition]
                if partition not in self._held:
                    self.committed.pop(partition, None)

        task = self._letting_go[partition] = self._guarded(let_go)

    async def _take_over(self, partition: TopicPartition, *, waits: bool) -> None:
        consumer = self.consumer
        if consumer is None:
            return
        name = f"partition {partition.partition} of {partition.topic}"
        if (before := self._letting_go.get(partition)) is not None:
            await asyncio.wait([before])
        if waits:
            await self._until_left(partition, consumer)
        await self._settled.wait()  # the group has been told of all that had begun by then
        self._begun.add(partition)
        try:
            taken = await retry_until_done(name, lambda: self._offsets.take_over(partition, consumer), self._observer)
        except LaneLostError as lost:
            self._observer.retrying(name, lost, 1)
            if self._ends_taking(partition):
                self._held.discard(partition)
                self._on_other()
            return
        finally:
            self._begun.discard(partition)
        if not self._ends_taking(partition):
            return
        self.committed[partition] = taken.start
        if suspects := taken.notes.suspects(taken.start):
            self._observer.crash_found(partition.topic, partition.partition, suspects)
        frames = ReadAhead(self._config, taken.notes, taken.start)
        self.frames.add(partition, frames)
        if self.settled:
            self._seek(partition, frames)
        self._on_taken()

    def _ends_taking(self, partition: TopicPartition) -> bool:
        """Whether the partition is still wanted by the task that has taken it over, which is this one."""
        if self._taking.get(partition) is not asyncio.current_task():
            return False
        del self._taking[partition]
        return True

    async def _until_left(self, partition: TopicPartition, consumer: AIOKafkaConsumer) -> None:
        """Wait until the partition's former owner has let it go, or should have."""
        until = monotonic() + self._config.revoke_timeout_s + FAREWELL_S
        while monotonic() < until:
            with suppress(KafkaError):
                found = await committed_offset(consumer, partition)
                if found is None or has_left(found.metadata or ""):
                    return
            await asyncio.sleep(_LOOK_S)

    def _seek(self, partition: TopicPartition, frames: ReadAhead) -> None:
        if self.consumer is not None:
            self.consumer.seek(partition, frames.next_offset)
