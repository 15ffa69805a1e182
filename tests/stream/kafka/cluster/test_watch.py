"""What is told of a topic while it is read, with brokers that do as a test says. Brokers: `../test_parted_logs.py`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from patchline.stream.kafka.cluster import watch as module
from patchline.stream.kafka.cluster.watch import TopicWatch
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import CrashNotes, LogNote
from patchline.stream.model.errors import LogBreak
from tests.stream.kafka.scripted_clients import ScriptedConsumer
from tests.stream.scripted import Recorder
from tests.stream.waiting import until

CONFIG = KafkaConfig(bootstrap_servers="broker:9092", frames_topic="frames")
P = [TopicPartition("frames", number) for number in range(3)]
OLD, NEW = "AAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAg"
OLD_BYTES, NEW_BYTES = bytes(15) + b"\x01", bytes(15) + b"\x02"


class Reader:
    """Reads the partitions that a test gives it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.consumer, self.seen = ScriptedConsumer(), Recorder()
        self.cluster = self.consumer.cluster
        self.cluster.topic_id = OLD_BYTES
        self.held: dict[TopicPartition, tuple[CrashNotes, int]] = {}
        self.taken: list[tuple[TopicPartition, LogBreak]] = []
        self.refused: str | None = None

        async def refusal(config: KafkaConfig) -> str | None:
            return self.refused

        monkeypatch.setattr(module, "refusal", refusal)
        self.watch = TopicWatch(CONFIG, self.consumer, self.seen, self)

    def read(self, partition: TopicPartition, read_to: int = 5, **noted: object) -> CrashNotes:
        notes = CrashNotes("", end=9, window=4, log=LogNote(**{"topic": OLD, **noted}))  # type: ignore[arg-type]
        self.held[partition] = notes, read_to
        return notes

    def notes(self) -> dict[TopicPartition, tuple[CrashNotes, int]]:
        return self.held

    def take_anew(self, partition: TopicPartition, cause: LogBreak) -> None:
        self.taken.append((partition, cause))


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setattr(module, "_PAUSE_S", 0.05)
    monkeypatch.setattr(module, "_SHORTEST_PAUSE_S", 0.01)
    return Reader(monkeypatch)


@asynccontextmanager
async def running(watch: TopicWatch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_brokers_that_answer_and_those_that_do_not_are_told(reader: Reader) -> None:
    """With the reason, again and again; they are back as soon as they answer."""
    async with running(reader.watch):
        await until(lambda: reader.seen.kafka_told == [(True, None)])
        reader.cluster.fails = [KafkaConnectionError("gone")] * 3
        await until(lambda: not reader.cluster.fails)
        await until(lambda: reader.seen.kafka_told[-1] == (True, None))
    assert reader.seen.kafka_told[1] == (False, "Kafka at broker:9092: KafkaConnectionError: gone")
    assert reader.cluster.listeners == []


async def test_a_login_that_is_refused_meanwhile_is_named(reader: Reader) -> None:
    """The library says of it only that the brokers are away."""
    reader.refused = "broker:9092 refuses the login of user 'cam'"
    reader.cluster.fails = [KafkaConnectionError("gone")]
    await reader.watch.look()
    assert reader.seen.kafka_told == [(False, f"Kafka at broker:9092: {reader.refused}")]


async def test_brokers_that_take_too_long_are_away(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """As good as."""
    monkeypatch.setattr(module, "_ANSWER_S", 0.02)

    async def hangs(node: int, request: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(reader.cluster, "send", hangs)
    await reader.watch.look()
    assert reader.seen.kafka_told == [(False, "Kafka at broker:9092 does not answer within 0.02 s")]


async def test_brokers_that_refuse_answer(reader: Reader) -> None:
    """But frames cannot be read."""
    reader.cluster.code = TopicAuthorizationFailedError.errno
    await reader.watch.look()
    ((up, why),) = reader.seen.kafka_told
    assert up
    assert why is not None
    assert "no right to topic frames" in why


async def test_a_topic_that_is_gone_a_partition_without_leader_and_what_the_reader_knows_are_told(
    reader: Reader,
) -> None:
    """The brokers answer; partitions that others read are theirs to tell."""
    reader.read(P[0])
    reader.cluster.partitions[1] = (-1, 3)
    await reader.watch.look()
    reader.cluster.partitions[0] = (-1, 3)
    await reader.watch.look()
    reader.cluster.partitions = {0: (1, 4)}
    reader.watch.hindered = "another program"
    await reader.watch.look()
    reader.cluster.there = False
    await reader.watch.look()
    assert reader.seen.kafka_told == [
        (True, None),
        (True, "Kafka at broker:9092: nobody leads partition 0 of frames now"),
        (True, "another program"),
        (True, "Kafka at broker:9092 has no topic 'frames' any more: it is waited for"),
    ]


async def test_the_library_is_told_to_learn_what_it_does_not_know(reader: Reader) -> None:
    """Partitions that were added, a topic that is gone, and one that is back; it is left alone otherwise."""
    cluster = reader.cluster
    for learned, there, forced in (({0, 1, 2}, True, 0), ({0, 1}, True, 1), (None, False, 2), (set(), False, 2)):
        cluster.learned, cluster.there = learned, there
        await reader.watch.look()
        assert cluster.forced == forced
    cluster.there = True
    await reader.watch.look()
    assert cluster.forced == 3


async def test_partitions_of_another_topic_are_taken_anew(reader: Reader) -> None:
    """Those that are read as of the one before; both ids are known from then on."""
    reader.read(P[0])
    reader.read(P[1], topic=NEW)
    reader.read(P[2], topic=None)
    await reader.watch.look()
    assert reader.taken == [(P[1], LogBreak.RECREATED)]
    reader.cluster.topic_id = NEW_BYTES
    await reader.watch.look()
    assert reader.taken[1:] == [(P[0], LogBreak.RECREATED)]
    assert reader.watch.known == {OLD, NEW}
    assert reader.watch.saw(LogNote(topic="third")) == "third"
    assert reader.watch.saw(LogNote()) is reader.watch.saw(None) is None
    assert reader.watch.known == {OLD, NEW, "third"}


async def test_brokers_without_ids_are_named_once(reader: Reader) -> None:
    """Nothing is taken for another topic."""
    reader.read(P[0])
    reader.cluster.topic_id = None
    await reader.watch.look()
    await reader.watch.look()
    (lacking,) = reader.seen.lacking
    assert lacking.startswith("topic ids")
    assert (reader.taken, reader.watch.known) == ([], set())


async def test_a_log_that_was_cut_short_is_taken_anew(reader: Reader) -> None:
    """Also where it has grown since to where it had been read: the epoch of what was read last ends before that."""
    kept, later, silent = reader.read(P[0], 5), reader.read(P[1], 5), reader.read(P[2], 5)
    for notes in (kept, later, silent):
        notes.read(0, 3)
    later.read(4, 4)
    reader.cluster.partitions = {0: (1, 5), 1: (1, 5), 2: (-1, 5)}
    reader.cluster.epoch_ends = {(0, 3): 5, (1, 4): 5, (0, 5): 9, (1, 5): 9}
    await reader.watch.look()
    (request,) = [asked for asked in reader.cluster.asked if hasattr(asked, "epochs")]
    assert (request.epochs, request.present) == ({0: 3, 1: 4}, {0: 5, 1: 5, 2: 5})
    assert reader.taken == []
    reader.cluster.epoch_ends |= {(0, 3): 4, (2, 3): 4}
    await reader.watch.look()
    assert reader.taken == [(P[0], LogBreak.TRUNCATED)]


async def test_a_log_that_ends_before_what_was_read_was_cut_whatever_is_known_of_epochs(reader: Reader) -> None:
    """The last records may be of an epoch that is not known: then the log's own end tells."""
    reader.read(P[0], 6, epoch=0, before=4)
    reader.read(P[1], 6)
    reader.cluster.partitions = {0: (1, 2), 1: (1, 2), 2: (1, 2)}
    reader.cluster.epoch_ends = {(0, 0): 4, (0, 2): 6, (1, 2): 6}
    await reader.watch.look()
    assert reader.taken == []
    reader.cluster.epoch_ends = {(0, 0): 4, (0, 2): 5, (1, 2): 5}
    await reader.watch.look()
    assert reader.taken == [(P[0], LogBreak.TRUNCATED), (P[1], LogBreak.TRUNCATED)]


async def test_records_of_a_later_epoch_are_let_in_once_the_leader_has_what_was_read_before(reader: Reader) -> None:
    """Not by a look that it does not answer; a number that no leader has is damage, and is forgotten."""
    kept = reader.read(P[0], 5)
    kept.read(0, 3)
    reader.cluster.partitions = {0: (-1, 4), 1: (1, 4), 2: (1, 4)}
    assert kept.admits(3)
    assert not kept.admits(4)
    await reader.watch.look()
    assert not kept.admits(4)
    reader.cluster.partitions[0] = (1, 4)
    reader.cluster.epoch_ends = {(0, 3): 5}
    await reader.watch.look()
    assert kept.admits(4)
    kept.read(5, 9)
    reader.held[P[0]] = kept, 6
    await reader.watch.look()
    assert kept.known(6) == (3, 5)
    assert reader.taken == []


async def test_what_is_read_waits_for_a_look_once_the_library_has_learned_something(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that began afterwards, and succeeded. Looks follow each other at a distance, however much it learns."""
    async with asyncio.timeout(1):
        await reader.watch.until_sure()
    monkeypatch.setattr(module, "_PAUSE_S", 60)
    async with running(reader.watch):
        await until(lambda: reader.seen.kafka_told == [(True, None)])
        looks = len(reader.cluster.asked)
        reader.cluster.fails = [KafkaConnectionError("gone")]
        (learned,) = reader.cluster.listeners
        learned(reader.cluster)
        waiting = asyncio.create_task(reader.watch.until_sure())
        await until(lambda: not reader.cluster.fails)
        assert not waiting.done()
        learned(reader.cluster)
        async with asyncio.timeout(10):
            await waiting
        assert len(reader.cluster.asked) - looks == 2
