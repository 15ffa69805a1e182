"""Kafka clients that do as a test says, in place of a broker."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka.assignor import Claim, Terms
from patchline.stream.kafka.cluster.log_break import PartedLog
from patchline.stream.kafka.cluster.requests import EpochEndsRequest, TopicRequest
from patchline.stream.kafka.crash_notes import CrashNotes, LogNote
from patchline.stream.kafka.offsets import Lost, Takeover


class ScriptedCluster:
    """Brokers that know a topic as a test says, in place of the client within a consumer; it is its own metadata."""

    def __init__(self, topic: str = "frames") -> None:
        self.topic = topic
        self.topic_id: bytes | None = None
        """16 bytes; None: the brokers are too old for ids."""
        self.partitions: dict[int, tuple[int, int]] = dict.fromkeys(range(3), (1, 0))
        """Leader and leader epoch of each partition."""
        self.there = True
        self.code = 0
        self.epoch_ends: dict[tuple[int, int], int] = {}
        """By partition and epoch."""
        self.learned: set[int] | None = None
        """The partitions that the library knows; None: as they are."""
        self.fails: list[BaseException] = []
        """Raised first, one a request."""
        self.asked: list[Any] = []
        self.forced = 0
        self.listeners: list[Any] = []
        self.cluster = self

    def brokers(self) -> list[Any]:
        return [SimpleNamespace(nodeId=1)]

    def get_random_node(self) -> int:
        return 1

    def leader_for_partition(self, partition: TopicPartition) -> int:
        return self.partitions.get(partition.partition, (-1, 0))[0]

    def add_listener(self, listener: Any) -> None:
        self.listeners.append(listener)

    def remove_listener(self, listener: Any) -> None:
        self.listeners.remove(listener)

    def force_metadata_update(self) -> None:
        self.forced += 1

    async def send(self, node: int, request: Any) -> Any:
        self.asked.append(request)
        if self.fails:
            raise self.fails.pop(0)
        await asyncio.sleep(0)
        if isinstance(request, EpochEndsRequest):
            ends = [
                (0, number, epoch, self.epoch_ends.get((number, epoch), -1)) for number, epoch in request.epochs.items()
            ]
            return SimpleNamespace(topics=[(self.topic, ends)])
        assert isinstance(request, TopicRequest)
        code = self.code if self.there else UnknownTopicOrPartitionError.errno
        if self.topic_id is None:
            old: list[Any] = [(0, number, leader, [], []) for number, (leader, _) in self.partitions.items()]
            return SimpleNamespace(API_VERSION=4, topics=[(code, self.topic, False, old)])
        new: list[Any] = [
            (0, number, leader, epoch, [], [], [], {}) for number, (leader, epoch) in self.partitions.items()
        ]
        topic: tuple[Any, ...] = (code, self.topic, self.topic_id, False, new, 0, {})
        return SimpleNamespace(API_VERSION=10, topics=[topic])


class ScriptedConsumer:
    """Has offsets and ends as given, keeps what is asked of it, and raises what it is told to."""

    def __init__(self, *, topics: Iterable[str] = ("frames",)) -> None:
        self.known = set(topics)
        self.firsts: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int] = {}
        """Where it reads next; the first offset of a partition that is not named, as of one just assigned."""
        self.metadata: dict[TopicPartition, OffsetAndMetadata] = {}
        """What the group has committed."""
        self.commits: list[dict[TopicPartition, OffsetAndMetadata]] = []
        self.seeks: list[tuple[TopicPartition, int]] = []
        self.subscribed: list[list[str]] = []
        self.listener: Any = None
        self.fails: list[Exception] = []
        """Raised first, one a request."""
        self.records: list[Mapping[TopicPartition, Sequence[Any]]] = []
        self.stopped = 0
        self._coordinator = self
        self._client = self.cluster = ScriptedCluster()

    def _ask(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    async def start(self) -> None:
        self._ask()

    async def stop(self) -> None:
        self.stopped += 1

    async def topics(self) -> set[str]:
        self._ask()
        return self.known

    def subscribe(self, topics: Sequence[str], listener: Any = None) -> None:
        self.subscribed.append(list(topics))
        self.listener = listener

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._ask()
        self.seeks.append((partition, offset))

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(self.cluster.partitions) if self.cluster.learned is None else self.cluster.learned

    async def fetch_committed_offsets(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        self._ask()
        return {partition: self.metadata[partition] for partition in partitions if partition in self.metadata}

    async def beginning_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self._ask()
        return {partition: self.firsts.get(partition, 0) for partition in partitions}

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        self._ask()
        return {partition: self.ends.get(partition, 0) for partition in partitions}

    async def position(self, partition: TopicPartition) -> int:
        self._ask()
        return self.positions.get(partition, self.firsts.get(partition, 0))

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self._ask()
        self.commits.append(offsets)

    async def getmany(self, *partitions: TopicPartition, **options: Any) -> Mapping[TopicPartition, Sequence[Any]]:
        self._ask()
        return self.records.pop(0) if self.records else {}


@dataclass
class ScriptedOffsets:
    """An `Offsets` that takes partitions over from the offsets it is given, and keeps what it is told."""

    starts: dict[TopicPartition, int] = field(default_factory=dict)
    notes: dict[TopicPartition, str] = field(default_factory=dict)
    logs: dict[TopicPartition, LogNote] = field(default_factory=dict)
    parted: dict[TopicPartition, PartedLog] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    outlives_membership: bool = True
    fails: list[Exception] = field(default_factory=list)
    log: list[tuple[Any, ...]] = field(default_factory=list)
    lost: dict[TopicPartition, Lost] = field(default_factory=dict)

    async def take_over(
        self, partition: TopicPartition, consumer: Any, lost: Lost, known: Collection[str] = ()
    ) -> Takeover:
        self.log.append(("take over", partition))
        self.known = set(known)
        if self.fails:
            raise self.fails.pop(0)
        self.lost[partition] = lost
        start = self.starts.get(partition, 0)
        notes = CrashNotes(self.notes.get(partition, ""), end=100, window=4, log=self.logs.get(partition))
        return Takeover(start, notes, as_found=True, parted=self.parted.get(partition))

    async def commit(self, partition: TopicPartition, offset: int) -> None:
        self.log.append(("commit", partition, offset))

    async def try_alone(self, partition: TopicPartition, offset: int) -> None:
        self.log.append(("alone", partition, offset))

    async def give_up(self, partitions: Collection[TopicPartition], *, in_order: bool) -> None:
        self.log.append(("give up", sorted(partitions), in_order))


@dataclass
class ScriptedAssignor:
    """Keeps the claim it is made with, and has the terms that a test sets."""

    claim: Any
    terms: Terms = field(default_factory=Terms)

    def claimed(self) -> Claim:
        claim: Claim = self.claim()
        return claim


class ScriptedProducer:
    """Keeps what is sent in each transaction, and raises what it is told to, by the name of the call."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.log: list[tuple[Any, ...]] = []
        self.fails: dict[str, list[BaseException]] = {}
        """Raised by a call; the answer to a record, where it is called `answer`."""
        self.stopped = 0
        self._txn_manager = SimpleNamespace(producer_epoch=0)

    def _ask(self, call: str, *about: Any) -> None:
        self.log.append((call, *about))
        if self.fails.get(call):
            raise self.fails[call].pop(0)

    async def start(self) -> None:
        self._ask("start")

    async def stop(self) -> None:
        self.stopped += 1

    async def begin_transaction(self) -> None:
        self._ask("begin")

    async def send(self, topic: str, value: Any, *, key: Any, headers: Any) -> "asyncio.Future[object]":
        self._ask("send", topic, value)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self.fails.get("answer"):
            answer.set_exception(self.fails["answer"].pop(0))
        else:
            answer.set_result(None)
        return answer

    async def send_and_wait(self, topic: str, value: Any, *, key: Any, headers: Any) -> None:
        await (await self.send(topic, value, key=key, headers=headers))

    async def send_offsets_to_transaction(self, offsets: Mapping[TopicPartition, Any], group: str) -> None:
        self._ask("offsets", dict(offsets), group)

    async def commit_transaction(self) -> None:
        self._ask("commit")
