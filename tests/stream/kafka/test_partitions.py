"""How partitions change hands, with a consumer and offsets that do as the test says. Brokers: `test_source.py`."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, TopicAuthorizationFailedError
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka import partitions as module
from patchline.stream.kafka.assignor import Claim, Terms
from patchline.stream.kafka.cluster.log_break import PartedLog
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import CrashNotes, LogNote
from patchline.stream.kafka.partitions import PartitionOwnership
from patchline.stream.kafka.read_ahead import ReadAheads
from patchline.stream.model.errors import LaneLostError, LogBreak, SinkError, SourceError, SourceUnavailableError
from patchline.stream.model.frame import LaneKey
from tests.stream.kafka.scripted_clients import ScriptedAssignor, ScriptedConsumer, ScriptedOffsets
from tests.stream.scripted import Recorder
from tests.stream.waiting import until

CONFIG = KafkaConfig(frames_topic="frames", revoke_timeout_s=0.2, session_timeout_s=2.0)
P = [TopicPartition("frames", number) for number in range(3)]
CRASHED = '{"in_flight":4}'


class Worker:
    """A `PartitionOwnership` with everything that it talks to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offsets: ScriptedOffsets) -> None:
        self.consumer, self.offsets, self.seen = ScriptedConsumer(), offsets, Recorder()
        self.frames = ReadAheads()
        self.released: list[tuple[list[LaneKey], float]] = []
        self.abandoned: list[LaneKey] = []
        """Lanes whose frames are not done when they are released."""
        self.hold: asyncio.Event | None = None
        self.options: dict[str, Any] = {}
        monkeypatch.setattr(module, "HandoverAssignor", ScriptedAssignor)

        def new_consumer(config: KafkaConfig, **options: Any) -> ScriptedConsumer:
            self.options = options
            return self.consumer

        monkeypatch.setattr(module, "new_consumer", new_consumer)
        self.ownership = PartitionOwnership(CONFIG, offsets, self.frames, self.seen, self.release)
        (self.assignor,) = self.options["partition_assignment_strategy"]

    async def release(self, lanes: Collection[LaneKey], timeout_s: float) -> list[LaneKey]:
        self.released.append((list(lanes), timeout_s))
        if self.hold is not None:
            await self.hold.wait()
        return [lane for lane in lanes if lane in self.abandoned]

    async def rebalance(
        self, *partitions: TopicPartition, round_: int | None = None, handed_over: Collection[TopicPartition] = ()
    ) -> None:
        """As the consumer calls its listener."""
        before = self.assignor.terms.round
        await self.ownership.on_partitions_revoked(P)
        assert not self.ownership.settled
        number = before + 1 if round_ is None else round_
        self.assignor.terms = Terms(round=number, handed_over=list(handed_over))
        await self.ownership.on_partitions_assigned(partitions)

    @property
    def readable(self) -> list[TopicPartition]:
        return sorted(partition for partition, _ in self.frames)

    async def failure(self) -> BaseException:
        """What whoever waits for a frame has."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 - it is looked at by who asks
            async with asyncio.timeout(10):
                await self.frames.take()
        return caught.value


@pytest.fixture
async def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker(monkeypatch, ScriptedOffsets(starts={P[0]: 7, P[1]: 8, P[2]: 9}))
    await made.ownership.join()
    return made


async def test_a_worker_that_joins_reads_on_from_where_the_group_is(worker: Worker) -> None:
    """Each partition is taken over, sought and readable; its next offset is known, and so is what the group is told."""
    assert worker.consumer.subscribed == [["frames"]]
    assert worker.consumer.listener is worker.ownership
    assert worker.assignor.claimed() == Claim()
    await worker.rebalance(P[1], P[0])
    assert worker.ownership.settled
    assert worker.ownership.committed == {P[0]: None, P[1]: None}
    await until(lambda: worker.readable == P[:2])
    assert worker.consumer.seeks == [(P[0], 7), (P[1], 8)]
    assert worker.ownership.committed == {P[0]: 7, P[1]: 8}
    assert worker.seen.owned == [(0, 1)]
    assert worker.assignor.claimed() == Claim(round=1, held=P[:2], open=P[:2])
    frames = worker.frames.get(P[1])
    assert frames is not None
    assert frames.next_offset == 8
    assert worker.seen.crashes == {}


async def test_a_partition_is_given_up_only_when_its_frames_are_released(worker: Worker) -> None:
    """The note says that nothing is in flight: written while something is, the next owner would start too soon."""
    await worker.rebalance(P[0])
    await until(lambda: worker.readable == [P[0]])
    worker.hold = asyncio.Event()
    await worker.rebalance()
    await until(lambda: worker.released == [([("frames", 0)], CONFIG.revoke_timeout_s)])
    assert ("give up", [P[0]], True) not in worker.offsets.log
    worker.hold.set()
    await until(lambda: ("give up", [P[0]], True) in worker.offsets.log)


async def test_the_consumer_is_one_that_commits_nothing_by_itself(worker: Worker) -> None:
    """It reads what is committed, beats often enough, and fetches a large backlog bit by bit."""
    options = worker.options
    assert options["group_id"] == CONFIG.group
    assert options["enable_auto_commit"] is False
    assert options["auto_offset_reset"] == "none"
    assert options["isolation_level"] == "read_committed"
    assert options["session_timeout_ms"] == 2000
    assert options["heartbeat_interval_ms"] == 300
    assert options["max_poll_interval_ms"] == 300_000
    assert options["max_partition_fetch_bytes"] == 2**20
    assert options["fetch_max_bytes"] == CONFIG.fetch_max_bytes


async def test_a_topic_that_is_not_there_is_named_and_the_client_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is an error of the brokers; another attempt may be made with another client."""
    worker = Worker(monkeypatch, ScriptedOffsets())
    worker.consumer.known = {"other"}
    with pytest.raises(SourceUnavailableError, match="has no topic 'frames', or shows it only to who has the right"):
        await worker.ownership.join()
    assert worker.consumer.stopped == 1
    refused = Worker(monkeypatch, ScriptedOffsets())
    refused.consumer.fails = [TopicAuthorizationFailedError("frames")]
    with pytest.raises(SourceError, match="no right to topic frames"):
        await refused.ownership.join()
    assert refused.consumer.stopped == 1
    assert refused.consumer.subscribed == []


async def test_a_partition_that_stays_goes_on_with_what_was_fetched(worker: Worker) -> None:
    """Through a rebalance: it is sought where its frames end, and neither released nor taken over again."""
    await worker.rebalance(P[0])
    await until(lambda: worker.readable == [P[0]])
    frames = worker.frames.get(P[0])
    assert frames is not None
    frames.next_offset = 12
    await worker.rebalance(P[0], P[1])
    await until(lambda: worker.readable == P[:2])
    assert worker.frames.get(P[0]) is frames
    assert worker.consumer.seeks == [(P[0], 7), (P[0], 12), (P[1], 8)]
    assert worker.offsets.log == [("take over", P[0]), ("take over", P[1])]
    assert worker.released == []


async def test_a_partition_that_moves_is_let_go_in_order(worker: Worker) -> None:
    """Its frames are dropped at once, those in flight may finish for a moment, then the note says that it is left."""
    await worker.rebalance(P[0], P[1])
    await until(lambda: worker.readable == P[:2])
    worker.hold = asyncio.Event()
    await worker.rebalance(P[1])
    assert worker.readable == [P[1]]
    await until(lambda: worker.released == [([("frames", 0)], 0.2)])
    assert worker.assignor.claimed() == Claim(round=2, held=[P[1]], open=P[:2])
    assert P[0] in worker.ownership.committed
    worker.hold.set()
    await until(lambda: ("give up", [P[0]], True) in worker.offsets.log)
    await until(lambda: worker.assignor.claimed().open == [P[1]])
    assert set(worker.ownership.committed) == {P[1]}


async def test_a_partition_that_comes_back_while_it_is_let_go_is_taken_over_afterwards(worker: Worker) -> None:
    """Its frames in flight are done or abandoned first: else they would be judged again beside themselves."""
    await worker.rebalance(P[0])
    await until(lambda: worker.readable == [P[0]])
    worker.hold = asyncio.Event()
    await worker.rebalance()
    await until(lambda: len(worker.released) == 1)
    worker.offsets.starts[P[0]] = 20
    await worker.rebalance(P[0])
    await asyncio.sleep(0.05)
    assert worker.offsets.log == [("take over", P[0])]
    worker.hold.set()
    await until(lambda: worker.ownership.committed == {P[0]: 20})
    assert worker.offsets.log == [("take over", P[0]), ("give up", [P[0]], True), ("take over", P[0])]


async def test_a_worker_that_missed_a_round_lets_everything_go_and_takes_it_over_again(worker: Worker) -> None:
    """Others may have had its partitions meanwhile: nothing that was fetched counts, and nothing waits to finish."""
    await worker.rebalance(P[0])
    await until(lambda: worker.readable == [P[0]])
    worker.offsets.starts[P[0]] = 20
    await worker.rebalance(P[0], round_=3)
    await until(lambda: worker.ownership.committed == {P[0]: 20})
    assert worker.released == [([("frames", 0)], 0.0)]
    assert worker.offsets.log == [("take over", P[0]), ("give up", [P[0]], True), ("take over", P[0])]
    assert worker.consumer.seeks[-1] == (P[0], 20)


async def test_without_transactions_all_is_let_go_before_each_rebalance(worker: Worker) -> None:
    """Only the member that read a partition may commit it."""
    worker.offsets.outlives_membership = False
    await worker.rebalance(P[0], P[1])
    await until(lambda: worker.readable == P[:2])
    await worker.ownership.on_partitions_revoked(P[:2])
    assert worker.readable == []
    assert sorted(worker.released) == [([("frames", 0)], 0.2), ([("frames", 1)], 0.2)]
    assert sorted(entry for entry in worker.offsets.log if entry[0] == "give up") == [
        ("give up", [P[0]], True),
        ("give up", [P[1]], True),
    ]
    assert worker.assignor.claimed() == Claim(round=1)
    assert worker.ownership.committed == {}


async def test_a_partition_that_another_worker_took_is_dropped_and_the_group_asked_anew(worker: Worker) -> None:
    """Once: what is known already, or is being asked, is not asked again."""
    await worker.rebalance(P[0], P[1])
    await until(lambda: worker.readable == P[:2])
    worker.offsets.lost[P[0]](P[0])
    assert worker.readable == [P[1]]
    assert not worker.ownership.settled
    assert len(worker.consumer.subscribed) == 2
    worker.offsets.lost[P[0]](P[0])
    worker.offsets.lost[P[1]](P[1])
    assert len(worker.consumer.subscribed) == 2
    await until(lambda: len(worker.released) == 2)
    assert worker.released == [([("frames", 0)], 0.0), ([("frames", 1)], 0.0)]
    assert worker.assignor.claimed().held == []


async def test_a_takeover_that_finds_another_owner_is_told_and_the_group_asked_anew(worker: Worker) -> None:
    """The partition is not read."""
    worker.offsets.fails = [LaneLostError("another worker has it")]
    await worker.rebalance(P[0])
    await until(lambda: len(worker.consumer.subscribed) == 2)
    assert worker.seen.retries == [("partition 0 of frames", "another worker has it")]
    assert worker.readable == []
    assert worker.assignor.claimed() == Claim(round=1)


async def test_a_takeover_that_is_refused_stops_the_source(worker: Worker) -> None:
    """And one that fails for now is made again."""
    worker.offsets.fails = [SourceUnavailableError("not now"), SinkError("not allowed")]
    await worker.rebalance(P[0])
    assert str(await worker.failure()) == "not allowed"
    assert [error for _, error in worker.seen.retries] == ["not now"]


async def test_what_a_callback_raises_stops_the_source(worker: Worker) -> None:
    """The consumer would only log it; an error of Kafka is translated."""
    await worker.rebalance(P[0])
    await until(lambda: worker.readable == [P[0]])
    worker.consumer.fails = [KafkaTimeoutError("gone")]
    await worker.rebalance(P[0])
    failure = await worker.failure()
    assert isinstance(failure, SourceUnavailableError)
    assert "gone" in str(failure)


async def test_frames_of_a_crash_are_counted(worker: Worker) -> None:
    """The note of a worker that did not leave in order says how many may have been in flight."""
    worker.offsets.notes[P[1]] = CRASHED
    await worker.rebalance(P[0], P[1])
    await until(lambda: worker.readable == P[:2])
    assert worker.seen.crashes == {("frames", 1): 4}


async def test_a_partition_handed_over_is_waited_for_until_its_owner_has_left(worker: Worker) -> None:
    """Its note tells; a broker that does not answer is asked again."""
    worker.consumer.metadata[P[0]] = OffsetAndMetadata(7, CRASHED)
    worker.consumer.fails = [KafkaTimeoutError()]
    await worker.rebalance(P[0], P[1], handed_over=[P[0]])
    await until(lambda: worker.readable == [P[1]])
    await asyncio.sleep(0.1)
    assert worker.readable == [P[1]]
    assert worker.assignor.claimed().open == [P[1]]
    worker.consumer.metadata[P[0]] = OffsetAndMetadata(8, "")
    await until(lambda: worker.readable == P[:2])


@pytest.mark.parametrize("note", [None, OffsetAndMetadata(3, CrashNotes(CRASHED, end=9, window=4).farewell(3))])
async def test_a_partition_whose_owner_has_left_is_taken_at_once(
    worker: Worker, note: OffsetAndMetadata | None
) -> None:
    """So is one of which nothing was ever committed."""
    if note is not None:
        worker.consumer.metadata[P[0]] = note
    await worker.rebalance(P[0], handed_over=[P[0]])
    async with asyncio.timeout(1):  # less than the wait for an owner that says nothing
        while not worker.readable:
            await asyncio.sleep(0.01)


async def test_an_owner_that_never_leaves_is_not_waited_for_for_ever(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it may take it to finish, and to say so."""
    monkeypatch.setattr(module, "FAREWELL_S", 0.2)
    worker.consumer.metadata[P[0]] = OffsetAndMetadata(7, CRASHED)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await worker.rebalance(P[0], handed_over=[P[0]])
    await until(lambda: worker.readable == [P[0]])
    assert 0.4 <= loop.time() - began < 5


async def test_commits_are_those_of_partitions_held(worker: Worker) -> None:
    """The next offset is noted; a partition that is not this worker's is left alone."""
    await worker.rebalance(P[0])
    await until(lambda: worker.readable == [P[0]])
    await worker.ownership.commit(P[0], 9)
    await worker.ownership.commit(P[2], 9)
    assert worker.ownership.committed == {P[0]: 9}
    assert [entry for entry in worker.offsets.log if entry[0] == "commit"] == [("commit", P[0], 9)]


async def test_a_close_leaves_in_order_what_has_nothing_in_flight(worker: Worker) -> None:
    """A partition with frames in flight is left as by a crash; nothing is taken or asked for any more."""
    await worker.rebalance(P[0], P[1])
    await until(lambda: worker.readable == P[:2])
    worker.abandoned = [("frames", 1)]
    lost = worker.offsets.lost[P[0]]
    await worker.ownership.close()
    assert worker.released == [([("frames", 0), ("frames", 1)], 0.0)]
    assert ("give up", [P[0]], True) in worker.offsets.log
    assert not any(entry[0] == "give up" and P[1] in entry[1] for entry in worker.offsets.log)
    assert worker.consumer.stopped == 1
    await worker.ownership.commit(P[0], 99)
    assert ("commit", P[0], 99) not in worker.offsets.log
    lost(P[0])
    await worker.ownership.on_partitions_assigned([P[2]])
    await asyncio.sleep(0)
    assert worker.offsets.log.count(("take over", P[2])) == 0
    assert len(worker.consumer.subscribed) == 1


async def test_a_close_waits_for_what_is_being_let_go_but_not_for_ever(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not released a second time."""
    monkeypatch.setattr(module, "FAREWELL_S", 0.1)
    await worker.rebalance(P[0])
    await until(lambda: worker.readable == [P[0]])
    worker.hold = asyncio.Event()
    await worker.rebalance()
    await until(lambda: len(worker.released) == 1)
    held, worker.hold = worker.hold, None
    async with asyncio.timeout(10):
        await worker.ownership.close()
    assert worker.released[1:] == [([], 0.0)]
    assert not held.is_set()


async def test_a_takeover_under_way_is_ended_before_the_partition_is_let_go(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has begun may be committed already: then the partition is left in order; it is never read."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    take_over: Callable[..., Any] = worker.offsets.take_over

    async def slow(*given: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await take_over(*given)

    monkeypatch.setattr(worker.offsets, "take_over", slow)
    await worker.rebalance(P[0])
    await reached.wait()
    assert worker.assignor.claimed().open == [P[0]]
    await worker.rebalance()
    assert worker.released == []
    go_on.set()
    await until(lambda: ("give up", [P[0]], True) in worker.offsets.log)
    assert worker.offsets.log[0] == ("take over", P[0])
    assert worker.readable == []


async def test_a_partition_whose_log_is_another_is_taken_over_anew_without_a_rebalance(worker: Worker) -> None:
    """What is in flight may finish for a moment; what was fetched is dropped; why is told with what is found then."""
    worker.offsets.logs[P[0]] = LogNote(topic="old")
    await worker.rebalance(P[0], P[1])
    await until(lambda: worker.readable == P[:2])
    assert worker.ownership.notes()[P[0]][0].log == LogNote(topic="old")
    assert worker.ownership.notes()[P[0]][1] == 7
    worker.offsets.starts[P[0]], worker.offsets.logs[P[0]] = 0, LogNote(topic="new")
    worker.offsets.parted[P[0]] = PartedLog(LogBreak.RECREATED, 7, 0, None)
    worker.hold = asyncio.Event()
    worker.ownership.take_anew(P[0], LogBreak.RECREATED)
    worker.ownership.take_anew(P[0], LogBreak.RECREATED)
    assert worker.readable == [P[1]]
    await until(lambda: worker.released == [([("frames", 0)], 0.2)])
    worker.hold.set()
    await until(lambda: worker.readable == P[:2])
    taken = [entry for entry in worker.offsets.log if entry[1] in (P[0], [P[0]])]
    assert taken == [("take over", P[0]), ("give up", [P[0]], True), ("take over", P[0])]
    assert worker.offsets.known == {"old"}
    assert worker.ownership.watch.known == {"old", "new"}
    assert worker.ownership.committed == {P[0]: 0, P[1]: 8}
    assert worker.consumer.seeks[-1] == (P[0], 0)
    assert worker.seen.log_breaks == [(0, "recreated", 7, 0, None)]
    assert len(worker.consumer.subscribed) == 1


async def test_a_partition_that_is_not_read_is_not_taken_anew(worker: Worker) -> None:
    """It is being taken over, or is another worker's; after a close nothing is."""
    worker.ownership.take_anew(P[0], LogBreak.TRUNCATED)
    assert worker.offsets.log == []
    await worker.rebalance(P[0])
    await until(lambda: worker.readable == [P[0]])
    await worker.ownership.close()
    log = list(worker.offsets.log)
    worker.ownership.take_anew(P[0], LogBreak.TRUNCATED)
    await asyncio.sleep(0.01)
    assert worker.offsets.log == log


async def test_partitions_that_are_given_out_end_what_hindered_it(worker: Worker) -> None:
    """The group has taken this worker in."""
    worker.ownership.watch.hindered = "another program"
    await worker.rebalance()
    assert worker.ownership.watch.hindered is None
