"""How the source polls, with a consumer that does as the test says. Brokers: `test_source.py`."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    InconsistentGroupProtocolError,
    KafkaTimeoutError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka import partitions
from patchline.stream.kafka import source as module
from patchline.stream.kafka.assignor import Terms
from patchline.stream.kafka.batches.epochs import LogEpochs
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.model.errors import SourceError, SourceUnavailableError
from patchline.stream.model.frame import Frame, LaneKey, Position
from patchline.stream.support.heartbeat import Heartbeat
from patchline.stream.wire.frames import frame_headers, read_frame
from tests.stream.kafka.scripted_clients import ScriptedAssignor, ScriptedConsumer
from tests.stream.scripted import Recorder
from tests.stream.waiting import Clock, until

P = [TopicPartition("frames", number) for number in range(2)]
NOTHING = TopicPartition("frames", -1)


class Log(ScriptedConsumer):
    """Partitions that hold records; a read without any waits for its timeout, as the library does."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[TopicPartition, list[Any]] = {}
        self.reads: list[tuple[tuple[TopicPartition, ...], int, int | None]] = []
        self.at: dict[TopicPartition, int] = {}
        self.poll_fails: list[Exception] = []

    def produce(self, partition: TopicPartition, count: int) -> None:
        held = self.held.setdefault(partition, [])
        for _ in range(count):
            headers = frame_headers(
                frame_id=f"{partition.partition}/{len(held)}",
                camera=f"cam-{partition.partition}",
                time=datetime.now(UTC),
                recipe=None,
            )
            held.append(
                SimpleNamespace(
                    topic="frames",
                    partition=partition.partition,
                    offset=len(held),
                    timestamp=0,
                    key=b"key",
                    value=b"image",
                    headers=headers,
                )
            )
        self.ends[partition] = len(held)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        super().seek(partition, offset)
        self.at[partition] = offset

    async def getmany(
        self, *wanted: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> Mapping[TopicPartition, Sequence[Any]]:
        self.reads.append((wanted, timeout_ms, max_records))
        if self.poll_fails:
            raise self.poll_fails.pop(0)
        until_s = asyncio.get_running_loop().time() + timeout_ms / 1000
        while True:
            for partition in wanted:
                at = self.at.get(partition, 0)
                found = self.held.get(partition, [])[at : at + (max_records or 9999)]
                if found:
                    self.at[partition] = at + len(found)
                    return {partition: found}
            if asyncio.get_running_loop().time() >= until_s:
                await asyncio.sleep(0)
                return {}
            await asyncio.sleep(0.005)


class Opened:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
        self.config = KafkaConfig(frames_topic="frames", lag_interval_s=0.02, delivery="at_least_once", **given)
        self.log, self.seen = Log(), Recorder()
        monkeypatch.setattr(partitions, "new_consumer", lambda _, **options: self._made(options))
        monkeypatch.setattr(partitions, "HandoverAssignor", ScriptedAssignor)
        self.clock = Clock()
        self.heart = Heartbeat(self.clock)
        self.source = KafkaSource(self.config, observer=self.seen, window=4, heart=self.heart)
        self.open_lanes: list[LaneKey] = []

    def _made(self, options: dict[str, Any]) -> Log:
        (self.assignor,) = options["partition_assignment_strategy"]
        return self.log

    async def release(self, lanes: Collection[LaneKey], timeout_s: float) -> list[LaneKey]:
        return [lane for lane in lanes if lane in self.open_lanes]

    async def begin(self, *assigned: TopicPartition) -> None:
        await self.source.open(self.release)
        await self.rebalance(*assigned)

    async def rebalance(self, *assigned: TopicPartition) -> None:
        await self.log.listener.on_partitions_revoked([])
        self.assignor.terms = Terms(round=self.assignor.terms.round + 1)
        await self.log.listener.on_partitions_assigned(assigned)

    async def take(self, count: int) -> list[str]:
        async with asyncio.timeout(20):
            return [(await anext(self.source)).frame_id for _ in range(count)]


@pytest.fixture
async def opened(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Opened]:
    made = Opened(monkeypatch, partition_buffer_frames=3, default_recipe="plate", camera_recipes={"cam-1": "cup"})
    yield made
    await made.source.close()


async def test_records_become_frames_with_their_place_and_recipe(opened: Opened) -> None:
    """In their order; a camera's recipe comes before the default."""
    for partition in P:
        opened.log.produce(partition, 2)
    await opened.begin(*P)
    async with asyncio.timeout(20):
        frames = [await anext(opened.source) for _ in range(4)]
    by_id = {frame.frame_id: frame for frame in frames}
    assert sorted(by_id) == ["0/0", "0/1", "1/0", "1/1"]
    assert by_id["0/1"].position == Position("frames", 0, 1)
    assert (by_id["0/0"].recipe, by_id["1/0"].recipe, by_id["0/0"].payload) == ("plate", "cup", b"image")
    assert {frame.crashes for frame in frames} == {None}


async def test_records_of_a_later_epoch_are_taken_in_after_the_leader_was_asked(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are fetched again then; where the leader has not what was read before, the partition is taken over anew."""
    epochs = LogEpochs()
    epochs.saw(0, 1)
    epochs.saw(2, 2)
    monkeypatch.setattr(module, "epochs_fetched", lambda *_: epochs)
    opened.log.produce(P[0], 3)
    cluster = opened.log.cluster
    cluster.partitions[0] = (-1, 2)
    await opened.begin(P[0])
    assert await opened.take(2) == ["0/0", "0/1"]
    await until(lambda: (P[0], 2) in opened.log.seeks)
    await until(lambda: opened.seen.kafka_told != [])
    frames = opened.source._frames.get(P[0])
    assert frames is not None
    assert (frames.next_offset, frames.notes.awaited) == (2, 2)
    cluster.epoch_ends = {(0, 1): 2}
    cluster.partitions[0] = (1, 2)
    assert await opened.take(1) == ["0/2"]
    assert frames.notes.known(3) == (2, 3)
    cluster.epoch_ends = {(0, 2): 1}
    await until(lambda: [cause for _, cause, *_ in opened.seen.log_breaks] == ["truncated"])


async def test_a_record_that_cannot_be_read_costs_itself(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever `read_frame` raises: the record is a frame that is not inspected, and those behind it are read."""

    def failing(**given: Any) -> Frame:
        if given["position"].offset == 1:
            raise RuntimeError("scripted")
        return read_frame(**given)

    monkeypatch.setattr(module, "read_frame", failing)
    opened.log.produce(P[0], 3)
    await opened.begin(P[0])
    async with asyncio.timeout(20):
        frames = [await anext(opened.source) for _ in range(3)]
    assert [frame.frame_id for frame in frames] == ["0/0", "frames/0/1", "0/2"]
    assert [frame.flaw for frame in frames] == [None, "the record cannot be read: RuntimeError: scripted", None]


async def test_a_partition_whose_buffer_is_full_is_not_polled(opened: Opened) -> None:
    """The others go on, and polling nothing says that this worker lives; it is polled again when there is room."""
    opened.log.produce(P[0], 20)
    await opened.begin(*P)
    await until(lambda: opened.seen.depth.get("kafka_buffer") == 3)
    assert opened.log.reads[-1][0] != (P[0],)
    await until(lambda: opened.log.reads[-1][0] == (P[1],))
    assert opened.log.reads[-1][1:] == (50, 3)
    opened.log.produce(P[1], 20)
    await until(lambda: opened.seen.depth.get("kafka_buffer") == 6)
    await until(lambda: opened.log.reads[-1] == ((NOTHING,), 0, None))
    reads = len(opened.log.reads)
    await asyncio.sleep(0.05)
    assert len(opened.log.reads) == reads, "a full source asks for nothing again and again"
    assert len(await opened.take(2)) == 2
    await until(lambda: len(opened.log.reads) > reads)
    assert opened.log.reads[reads][0] in ((P[0],), (P[1],), P)


async def test_all_partitions_are_waited_for_long_and_a_new_one_ends_the_wait(opened: Opened) -> None:
    """Nothing but a new partition would be missed: so its frames do not wait for the poll to end."""
    await opened.begin(P[0])
    await until(lambda: (((P[0],), 1000, 3)) in opened.log.reads)
    opened.log.produce(P[1], 1)
    began = asyncio.get_running_loop().time()
    await opened.rebalance(*P)
    assert await opened.take(1) == ["1/0"]
    assert asyncio.get_running_loop().time() - began < 0.9


async def test_a_worker_without_partitions_goes_on_saying_that_it_lives(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It polls for nothing, every second: whoever does not poll leaves the group, and would take over from nobody."""
    assert module._IDLE_POLL_MS == 1000
    monkeypatch.setattr(module, "_IDLE_POLL_MS", 20)
    await opened.begin()
    await until(lambda: len(opened.log.reads) > 3, seconds=10)
    assert {wanted for wanted, _, _ in opened.log.reads} == {(NOTHING,)}


async def test_without_a_buffer_a_frame_is_read_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time, by turns, from what the consumer has fetched already."""
    opened = Opened(monkeypatch, partition_buffer_frames=0, default_recipe="plate")
    for partition in P:
        opened.log.produce(partition, 3)
    await opened.begin(*P)
    await asyncio.sleep(0.05)
    assert all(wanted == (NOTHING,) for wanted, _, _ in opened.log.reads)
    first = await opened.take(1)
    assert [frames for frames in opened.log.at.values() if frames] == [1]
    opened.source.begin_batch()
    second = await opened.take(1)
    assert sorted(first + second) == ["0/0", "1/0"]
    assert ((P[0],), 0, 1) in opened.log.reads
    await opened.source.close()


async def test_without_a_buffer_frames_that_come_later_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all partitions at once."""
    opened = Opened(monkeypatch, partition_buffer_frames=0, default_recipe="plate")
    await opened.begin(*P)
    waiting = asyncio.create_task(opened.take(1))
    await until(lambda: any(len(wanted) == 2 and most == 1 for wanted, _, most in opened.log.reads))
    opened.log.produce(P[1], 1)
    assert await waiting == ["1/0"]
    await opened.source.close()


async def test_what_was_fetched_before_a_rebalance_is_fetched_again(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that come amid it belong to nobody yet; those that are there already are not taken twice."""
    await opened.begin(P[0])
    await until(lambda: bool(opened.log.reads))
    await opened.log.listener.on_partitions_revoked([])
    opened.log.produce(P[0], 2)
    await asyncio.sleep(0.1)
    assert opened.seen.depth.get("kafka_buffer", 0) == 0
    opened.assignor.terms = Terms(round=2)
    await opened.log.listener.on_partitions_assigned([P[0]])
    assert await opened.take(2) == ["0/0", "0/1"]
    opened.log.at[P[0]] = 0
    opened.log.produce(P[0], 1)
    assert await opened.take(1) == ["0/2"]


async def test_a_poll_that_fails_for_now_is_told_and_made_again(opened: Opened) -> None:
    """After a second; one that is refused ends the source, for whoever waits for a frame."""
    await opened.begin(P[0])
    opened.log.poll_fails = [KafkaTimeoutError("late")]
    loop = asyncio.get_running_loop()
    await until(lambda: not opened.log.poll_fails)
    failed = loop.time()
    opened.log.produce(P[0], 1)
    assert await opened.take(1) == ["0/0"]
    assert loop.time() - failed > 0.5
    assert next(what for what, error in opened.seen.retries if "late" in error) == "Kafka frames"
    opened.log.poll_fails = [TopicAuthorizationFailedError("frames")]
    with pytest.raises(SourceError, match="no right to topic frames"):
        await opened.take(1)


async def test_commits_go_to_the_offsets_and_the_lag_follows(opened: Opened) -> None:
    """Everything up to and with a position is done."""
    opened.log.produce(P[0], 3)
    await opened.begin(P[0])
    assert await opened.take(3) == ["0/0", "0/1", "0/2"]
    await opened.source.commit(Position("frames", 0, 1))
    assert opened.log.commits[-1][P[0]].offset == 2
    await until(lambda: opened.seen.lag == {("frames", 0): 1})
    await opened.source.try_alone(Position("frames", 0, 2))
    assert opened.log.commits[-1][P[0]].offset == 2
    commits = len(opened.log.commits)
    await opened.source.commit(Position("frames", 1, 5))
    assert len(opened.log.commits) == commits


async def test_a_source_that_is_closed_reads_and_commits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that never opened, and one that is closed twice."""
    opened = Opened(monkeypatch)
    await opened.source.close()
    opened.log.fails = [KafkaTimeoutError("late")]
    with pytest.raises(SourceUnavailableError, match="late"):
        await opened.source.open(opened.release)
    await opened.source.commit(Position("frames", 0, 1))
    await opened.source.close()
    assert opened.log.stopped == 1, "what never joined has no group to leave"
    await opened.begin(P[0])
    await opened.source.close()
    await opened.source.close()
    assert opened.log.stopped == 2
    reads = len(opened.log.reads)
    await opened.source.commit(Position("frames", 0, 1))
    await asyncio.sleep(0.05)
    assert len(opened.log.reads) == reads


async def test_records_that_are_gone_are_passed_over_and_counted(opened: Opened) -> None:
    """The library would jump without a word: it raises, and reading goes on at the first record that is left."""
    opened.log.produce(P[0], 2)
    await opened.begin(P[0])
    assert await opened.take(2) == ["0/0", "0/1"]
    opened.log.produce(P[0], 7)
    opened.log.firsts[P[0]] = 6
    opened.log.poll_fails = [OffsetOutOfRangeError({P[0]: 2})]
    opened.log.at[P[0]] = 99  # where the log has nothing
    assert await opened.take(3) == ["0/6", "0/7", "0/8"]
    assert opened.seen.log_breaks == [(0, "expired", 2, 6, 4)]
    assert opened.log.seeks[-1] == (P[0], 6)


async def test_a_log_that_ends_before_what_was_read_is_taken_anew(opened: Opened) -> None:
    """One that has the offset after all is read on; a partition that is being taken over is not this matter."""
    opened.log.produce(P[0], 4)
    await opened.begin(P[0])
    assert len(await opened.take(4)) == 4
    opened.log.poll_fails = [OffsetOutOfRangeError({P[0]: 4}), OffsetOutOfRangeError({P[1]: 9})]
    await until(lambda: not opened.log.poll_fails)
    await asyncio.sleep(0.05)
    assert opened.seen.log_breaks == []
    opened.log.held[P[0]] = []
    opened.log.produce(P[0], 2)
    opened.log.metadata[P[0]] = OffsetAndMetadata(4, "")
    opened.log.poll_fails = [OffsetOutOfRangeError({P[0]: 4})]
    assert await opened.take(2) == ["0/0", "0/1"]
    assert opened.seen.log_breaks == [(0, "truncated", 4, 0, None)]


async def test_brokers_that_cannot_say_where_the_log_begins_are_asked_again(opened: Opened) -> None:
    """By the next read, which fails again; a refusal ends the source."""
    opened.log.produce(P[0], 1)
    await opened.begin(P[0])
    assert await opened.take(1) == ["0/0"]
    for _ in range(2):
        opened.log.fails = [KafkaTimeoutError("late")]
        opened.log.poll_fails = [OffsetOutOfRangeError({P[0]: 1})]
        await until(lambda: not opened.log.fails)
    await until(lambda: sum("late" in error for _, error in opened.seen.retries) >= 1)
    assert opened.seen.log_breaks == []


async def test_a_partition_that_the_library_does_not_know_yet_is_no_failure(opened: Opened) -> None:
    """It looks for a committed offset by itself; the source seeks to it a moment later."""
    opened.log.poll_fails = [NoOffsetForPartitionError(P[0])]
    opened.log.produce(P[0], 1)
    await opened.begin(P[0])
    assert await opened.take(1) == ["0/0"]


async def test_another_program_in_the_group_is_told_until_it_has_left(opened: Opened) -> None:
    """The worker waits, and says why it is not ready."""
    opened.log.poll_fails = [InconsistentGroupProtocolError()]
    await opened.source.open(opened.release)
    await until(lambda: any("another program" in (why or "") for _, why in opened.seen.kafka_told))
    opened.log.produce(P[0], 1)
    await opened.rebalance(P[0])
    assert await opened.take(1) == ["0/0"]
    await until(lambda: opened.seen.kafka_told[-1] == (True, None))


async def test_why_a_source_does_not_open_is_told(opened: Opened) -> None:
    """Whether the brokers answer is another matter than whether there is a topic."""
    opened.log.fails = [KafkaTimeoutError("late")]
    with pytest.raises(SourceUnavailableError):
        await opened.source.open(opened.release)
    opened.log.known = set()
    with pytest.raises(SourceUnavailableError):
        await opened.source.open(opened.release)
    (away, why), (up, missing) = opened.seen.kafka_told
    assert (away, up) == (False, True)
    assert "late" in str(why)
    assert "has no topic 'frames'" in str(missing)


async def test_a_frame_tells_which_topic_it_is_of(opened: Opened) -> None:
    """One that is made anew has another id, and counts from 0 again; what was fetched of the old one is not its."""
    cluster = opened.log.cluster
    cluster.topic_id = bytes(15) + b"\x01"
    opened.log.produce(P[0], 2)
    await opened.begin(P[0])
    async with asyncio.timeout(20):
        first = await anext(opened.source)
    assert first.position == Position("frames", 0, 0, "AAAAAAAAAAAAAAAAAAAAAQ")
    cluster.topic_id = bytes(15) + b"\x02"
    opened.log.held[P[0]] = []
    for learned in cluster.listeners:
        learned(cluster)  # as the library does when a read fails
    opened.log.produce(P[0], 3)
    async with asyncio.timeout(20):
        while (frame := await anext(opened.source)).position != Position("frames", 0, 0, "AAAAAAAAAAAAAAAAAAAAAg"):
            assert frame.position == Position("frames", 0, 1, "AAAAAAAAAAAAAAAAAAAAAQ")
    assert await opened.take(2) == ["0/1", "0/2"]
    assert [cause for _, cause, *_ in opened.seen.log_breaks] == ["recreated"]


async def test_the_heart_beats_whatever_comes_and_stops_with_the_reading(opened: Opened) -> None:
    """Where there is nothing, where nobody takes what is there, and where brokers are away; it rests when closed."""
    await opened.begin(*P)

    async def beats() -> None:
        opened.clock.now_s += 50
        await until(lambda: opened.heart.silent_s == 0)

    await beats()
    opened.log.poll_fails += [KafkaTimeoutError()]
    await beats()
    opened.log.produce(P[0], 9)
    await beats()
    await opened.source.close()
    opened.clock.now_s += 50
    assert opened.heart.resting


async def test_waiting_for_brokers_that_are_away_is_no_silence(opened: Opened) -> None:
    """Reading waits for a look where the library has learned something, and no look succeeds without brokers."""
    await opened.begin(*P)
    cluster = opened.log.cluster
    await until(lambda: opened.seen.kafka_told == [(True, None)])
    cluster.fails = [KafkaTimeoutError()] * 10_000
    (learned,) = cluster.listeners
    learned(cluster)
    await until(lambda: opened.seen.kafka_told[-1][0] is False)
    opened.clock.now_s += 61
    await until(lambda: opened.heart.silent_s == 0, seconds=20)
    assert opened.heart.resting
    cluster.fails.clear()
    opened.log.produce(P[0], 1)
    assert await opened.take(1) == ["0/0"]
    await until(lambda: not opened.heart.resting)


async def test_a_read_that_does_not_end_is_silence(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a lock inside the client is never let go."""
    await opened.begin(*P)
    stuck = asyncio.Event()

    async def hang(*_: TopicPartition, **__: Any) -> Any:
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(opened.log, "getmany", hang)
    async with asyncio.timeout(20):
        await stuck.wait()
    opened.clock.now_s += 61
    assert opened.heart.silent_s == 61
