"""Transactions of one partition, with a producer that does as the test says. Brokers: `test_transactions.py`."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka import transactions as module
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.transactions import PartitionTransactions, transactional_id
from patchline.stream.model.errors import LaneLostError, RecordTooLargeError, SinkError, SinkUnavailableError
from patchline.stream.wire.cloudevents import Record
from tests.stream.kafka.scripted_clients import ScriptedProducer

CONFIG = KafkaConfig(group="line", username="ada")
P = TopicPartition("frames", 2)
RECORD: Record = (b"key", b"value", [])
RESULT = [("results", RECORD)]


class Broker:
    """Makes producers, and knows what the group has committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.producers: list[ScriptedProducer] = []
        self.committed: OffsetAndMetadata | None = None
        self.next_fails: dict[str, list[BaseException]] = {}
        """What the next producer raises."""
        self.coordinator_fails: list[BaseException] = []
        self.asked = 0

        def new_producer(config: KafkaConfig, max_frame_bytes: int, **options: Any) -> ScriptedProducer:
            producer = ScriptedProducer(max_frame_bytes=max_frame_bytes, **options)
            producer.fails, self.next_fails = self.next_fails, {}
            self.producers.append(producer)
            return producer

        monkeypatch.setattr(module, "new_producer", new_producer)
        self.transactions = PartitionTransactions(CONFIG, P, self.ask, max_frame_bytes=99)

    async def ask(self) -> OffsetAndMetadata | None:
        self.asked += 1
        if self.coordinator_fails:
            raise self.coordinator_fails.pop(0)
        return self.committed

    @property
    def last(self) -> ScriptedProducer:
        return self.producers[-1]


@pytest.fixture
async def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """After a takeover at offset 5."""
    made = Broker(monkeypatch)
    made.committed = OffsetAndMetadata(5, "note")
    assert await made.transactions.take_over() == OffsetAndMetadata(5, "note")
    assert made.transactions.offset == 5
    return made


async def test_a_takeover_initialises_the_partitions_own_id_and_then_asks_for_the_offset(broker: Broker) -> None:
    """In this order: what the former owner left open is settled before the offset is read."""
    assert broker.last.options == {
        "max_frame_bytes": 99,
        "transactional_id": "line/frames/2",
        "retry_backoff_ms": 20,
    }
    assert transactional_id(CONFIG, P) == "line/frames/2"
    assert broker.last.log == [("start",)]
    assert broker.asked == 1


async def test_records_and_their_offset_are_one_transaction(broker: Broker) -> None:
    """Begun, sent, and committed, by the same producer; the offset is known afterwards."""
    await broker.transactions.commit([*RESULT, ("dead", RECORD)], 8, "m")
    assert broker.last.log[1:] == [
        ("begin",),
        ("send", "results", b"value"),
        ("send", "dead", b"value"),
        ("offsets", {P: OffsetAndMetadata(8, "m")}, "line"),
        ("commit",),
    ]
    assert broker.transactions.offset == 8
    await broker.transactions.commit([], 9, "m")
    assert len(broker.producers) == 1
    assert broker.asked == 1


async def test_a_takeover_that_fails_leaves_no_producer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where the producer cannot start, nor where the offset cannot be asked for, nor when it is cancelled."""
    broker = Broker(monkeypatch)
    broker.next_fails = {"start": [TransactionalIdAuthorizationFailed()]}
    with pytest.raises(SinkError, match=r"partition 2 of frames: Kafka at .* begin with line/") as caught:
        await broker.transactions.take_over()
    assert not caught.value.retriable
    for error, kind in (
        (KafkaTimeoutError("late"), SinkUnavailableError),
        (asyncio.CancelledError(), asyncio.CancelledError),
    ):
        broker.coordinator_fails = [error]
        with pytest.raises(kind):
            await broker.transactions.take_over()
    await broker.transactions.ended(5)
    assert [producer.stopped for producer in broker.producers] == [1, 1, 1]
    assert broker.transactions.offset is None


@pytest.mark.parametrize("call", ["begin", "send", "answer", "offsets", "commit"])
async def test_a_transaction_that_fails_is_not_committed_and_the_next_has_another_producer(
    broker: Broker, call: str
) -> None:
    """Whatever of it failed: a transaction does not fail by itself with a record that it loses."""
    broker.last.fails = {call: [KafkaTimeoutError("late")]}
    with pytest.raises(SinkUnavailableError, match=r"partition 2 of frames: .*late"):
        await broker.transactions.commit(RESULT, 8, "m")
    assert (("commit",) in broker.last.log) is (call == "commit")
    assert broker.transactions.offset == 5
    await broker.transactions.commit(RESULT, 8, "m")
    assert len(broker.producers) == 2
    assert broker.asked == 2
    assert broker.last.log[-1] == ("commit",)
    assert broker.producers[0].stopped == 1
    assert broker.transactions.offset == 8


async def test_a_commit_whose_answer_was_lost_is_not_made_again(broker: Broker) -> None:
    """The committed offset tells that it had arrived."""
    broker.last.fails = {"commit": [KafkaTimeoutError("late")]}
    with pytest.raises(SinkUnavailableError):
        await broker.transactions.commit(RESULT, 8, "m")
    broker.committed = OffsetAndMetadata(8, "m")
    await broker.transactions.commit(RESULT, 8, "m")
    assert broker.last.log == [("start",)]
    await broker.transactions.commit(RESULT, 9, "m")
    assert broker.last.log[-1] == ("commit",)


async def test_an_offset_that_stays_is_committed_whatever_was_there(broker: Broker) -> None:
    """A note with the same offset, as before a frame that is tried alone: that it is there proves nothing."""
    broker.last.fails = {"commit": [KafkaTimeoutError("late")]}
    with pytest.raises(SinkUnavailableError):
        await broker.transactions.commit([], 5, "alone")
    await broker.transactions.commit([], 5, "alone")
    assert broker.last.log[-1] == ("commit",)


@pytest.mark.parametrize("found", [OffsetAndMetadata(7, ""), None])
async def test_an_offset_that_another_worker_committed_ends_it(broker: Broker, found: OffsetAndMetadata | None) -> None:
    """This worker's frames are not the next ones: nothing more is committed, ever."""
    broker.last.fails = {"commit": [KafkaTimeoutError("late")]}
    with pytest.raises(SinkUnavailableError):
        await broker.transactions.commit(RESULT, 8, "m")
    broker.committed = found
    with pytest.raises(LaneLostError, match=r"another worker has committed offset (7|None), this one 5"):
        await broker.transactions.commit(RESULT, 8, "m")
    with pytest.raises(LaneLostError, match="was given up"):
        await broker.transactions.commit(RESULT, 8, "m")
    await broker.transactions.ended(5)
    assert [producer.stopped for producer in broker.producers] == [1, 1]


@pytest.mark.parametrize("fenced", [ProducerFenced(), InvalidProducerEpoch()])
async def test_being_fenced_shows_in_several_ways_and_the_plainest_counts(broker: Broker, fenced: KafkaError) -> None:
    """Also where another error of the same transaction came first."""
    broker.last.fails = {"answer": [KafkaTimeoutError("late"), fenced]}
    with pytest.raises(LaneLostError, match="another worker has taken it over"):
        await broker.transactions.commit([*RESULT, ("dead", RECORD)], 8, "m")
    with pytest.raises(LaneLostError, match="was given up"):
        await broker.transactions.commit(RESULT, 8, "m")
    assert len(broker.producers) == 1


@pytest.mark.parametrize(
    ("make", "kind", "passes"),
    [
        (lambda: MessageSizeTooLargeError("big"), RecordTooLargeError, False),
        (InvalidTxnState, SinkError, True),
        (InvalidProducerIdMapping, SinkError, True),
        (lambda: IllegalOperation("fatal"), SinkError, True),
        (lambda: KafkaError("unexpected"), SinkError, True),
        (KafkaTimeoutError, SinkError, True),
        (lambda: TopicAuthorizationFailedError("results"), SinkError, False),
    ],
)
async def test_what_an_error_means_for_the_partition(
    broker: Broker, make: Callable[[], KafkaError], kind: type[SinkError], passes: bool
) -> None:
    """A record that is too large, an attempt that may be made again, or the end."""
    broker.last.fails = {"begin": [make()]}
    with pytest.raises(kind) as caught:
        await broker.transactions.commit(RESULT, 8, "m")
    assert caught.value.retriable is passes
    assert isinstance(caught.value, SinkUnavailableError) is passes


async def test_a_missing_right_that_the_library_wraps_is_named(broker: Broker) -> None:
    """Committing offsets needs READ on the topic of frames."""
    wrapped = KafkaError("unexpected")
    wrapped.__cause__ = TopicAuthorizationFailedError()
    broker.last.fails = {"offsets": [wrapped]}
    with pytest.raises(SinkError, match="no right to topic frames") as caught:
        await broker.transactions.commit(RESULT, 8, "m")
    assert not caught.value.retriable


async def test_a_commit_that_is_cancelled_gives_its_producer_up(broker: Broker) -> None:
    """What was sent meanwhile is anyone's guess: the next attempt looks first."""
    broker.last.fails = {"commit": [asyncio.CancelledError()]}
    with pytest.raises(asyncio.CancelledError):
        await broker.transactions.commit(RESULT, 8, "m")
    await broker.transactions.commit(RESULT, 8, "m")
    assert len(broker.producers) == 2


async def test_commits_take_their_turn(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once would be one transaction: the second begins when the first has ended."""
    commit = broker.last.commit_transaction

    async def slow() -> None:
        await asyncio.sleep(0.02)
        await commit()

    monkeypatch.setattr(broker.last, "commit_transaction", slow)
    await asyncio.gather(broker.transactions.commit(RESULT, 6, "m"), broker.transactions.commit(RESULT, 7, "m"))
    calls = [call for call, *_ in broker.last.log[1:]]
    assert calls == ["begin", "send", "offsets", "commit"] * 2


async def test_connections_that_do_not_close_are_cut_off(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away keeps a producer's end waiting; nobody waits for it longer than is said."""

    async def hangs() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(broker.last, "stop", hangs)
    broker.transactions.end()
    assert broker.transactions.ending
    async with asyncio.timeout(10):
        await broker.transactions.ended(0.05)
    await asyncio.sleep(0)
    assert not broker.transactions.ending
    broker.transactions.end()
    assert not broker.transactions.ending
