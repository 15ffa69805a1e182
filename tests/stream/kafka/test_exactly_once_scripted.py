"""The ledger, with transactions that do as the test says. Brokers: `test_exactly_once.py`."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka import exactly_once as module
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.model.errors import (
    LaneLostError,
    RecordTooLargeError,
    SinkError,
    SinkUnavailableError,
)
from patchline.stream.model.limits import Limits
from patchline.stream.model.outcome import Outcome
from patchline.stream.wire.cloudevents import Record
from tests.stream.alarms.test_store import outcomes
from tests.stream.kafka.scripted_clients import ScriptedConsumer
from tests.stream.kafka.test_records import unreadable
from tests.stream.scripted import Recorder

CONFIG = KafkaConfig(bootstrap_servers="broker:9092")
P, OTHER = TopicPartition("frames", 0), TopicPartition("frames", 1)
WORKING = '{"in_flight":4}'


class Transactions:
    """Those of one partition, as far as the ledger sees them."""

    made: list["Transactions"]
    owners: ClassVar[list[bool]] = []
    """Whether the next ones made find a former owner."""

    def __init__(self, config: KafkaConfig, partition: TopicPartition, committed: Any, *, max_frame_bytes: int) -> None:
        self.partition, self.max_frame_bytes = partition, max_frame_bytes
        self.committed = committed
        self.offset: int | None = None
        self.had_owner = self.owners.pop(0) if self.owners else False
        self.commits: list[tuple[list[str], int, str]] = []
        self.values: list[list[Any]] = []
        self.fails: list[BaseException] = []
        self.over = False
        self.ending = False
        self.waited: list[float] = []
        self.made.append(self)

    async def take_over(self) -> OffsetAndMetadata | None:
        found: OffsetAndMetadata | None = await self.committed()
        self.offset = None if found is None else found.offset
        return found

    async def commit(self, records: Sequence[tuple[str, Record]], next_offset: int, metadata: str) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.commits.append(([topic for topic, _ in records], next_offset, metadata))
        self.values.append([record[1] for _, record in records])
        self.offset = next_offset

    def translated(self, error: Exception) -> SinkError:
        return SinkUnavailableError(f"translated: {error}")

    def end(self) -> None:
        self.over = True

    async def ended(self, timeout_s: float) -> None:
        self.waited.append(timeout_s)


class Ledger:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Transactions, "made", [], raising=False)
        monkeypatch.setattr(module, "PartitionTransactions", Transactions)
        self.consumer, self.seen, self.lost = ScriptedConsumer(), Recorder(), list[TopicPartition]()
        self.consumer.metadata[P], self.consumer.ends = OffsetAndMetadata(5, ""), {P: 100}
        self.sink = ExactlyOnceSink(CONFIG, max_frame_bytes=10, observer=self.seen, window=4)

    async def take_over(self, partition: TopicPartition = P) -> Transactions:
        await self.sink.take_over(partition, self.consumer, self.lost.append)
        return Transactions.made[-1]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    return Ledger(monkeypatch)


async def test_a_partition_is_taken_over_with_a_note_that_its_frames_may_be_in_flight(ledger: Ledger) -> None:
    """From the committed offset; the note is committed where it is not there yet."""
    assert ledger.sink.outlives_membership
    assert ledger.sink.name == "Kafka results (broker:9092)"
    taken = await ledger.sink.take_over(P, ledger.consumer, ledger.lost.append)
    assert (taken.start, taken.as_found) == (5, False)
    assert Transactions.made[0].commits == [([], 5, WORKING)]
    assert Transactions.made[0].max_frame_bytes == 10
    ledger.consumer.metadata[OTHER] = OffsetAndMetadata(9, '{"in_flight":4,"until":50}')
    ledger.consumer.ends = {OTHER: 50}
    assert (await ledger.take_over(OTHER)).commits == []


async def test_what_is_not_said_is_what_the_stream_takes(ledger: Ledger) -> None:
    """By default every frame that may be inspected can be dead-lettered whole, and as many may be in flight."""
    ledger.sink = ExactlyOnceSink(CONFIG)
    transactions = await ledger.take_over()
    assert transactions.max_frame_bytes == Limits().max_frame_bytes
    assert transactions.commits == [([], 5, f'{{"in_flight":{Limits().max_in_flight}}}')]


async def test_a_takeover_that_fails_ends_the_transactions(ledger: Ledger) -> None:
    """Whatever failed; the partition is not this worker's."""
    ledger.consumer.metadata[P] = OffsetAndMetadata(5, WORKING)
    ends = ledger.consumer.end_offsets

    async def failing(partitions: Any) -> dict[TopicPartition, int]:
        if errors:
            raise errors.pop()
        return await ends(partitions)

    ledger.consumer.end_offsets = failing  # type: ignore[method-assign] # as the test says
    for error, kind, text in (
        (KafkaTimeoutError("late"), SinkUnavailableError, "translated: .*late"),
        (asyncio.CancelledError(), asyncio.CancelledError, None),
    ):
        errors: list[BaseException] = [error]
        with pytest.raises(kind, match=text):
            await ledger.take_over()
        assert Transactions.made[-1].over
        with pytest.raises(LaneLostError):
            await ledger.sink.try_alone(P, 5)


async def test_a_delivery_commits_results_and_the_offset_behind_the_last(ledger: Ledger) -> None:
    """All of one lane as one; the offset alone is committed by nothing else."""
    transactions = await ledger.take_over()
    await ledger.sink.open()
    await ledger.sink.deliver(outcomes("RP", first=5))
    assert transactions.commits[1:] == [([CONFIG.results_topic] * 2, 7, WORKING)]
    await ledger.sink.commit(P, 7)
    assert len(transactions.commits) == 2
    await ledger.sink.try_alone(P, 7)
    assert transactions.commits[2:] == [([], 7, WORKING)]


def letter() -> Outcome:
    """A frame of the partition that was not inspected."""
    bad = unreadable(b"xyz")
    position = outcomes("R")[0].frame.position
    return Outcome(frame=type(bad.frame)(**vars_of(bad.frame) | {"position": position}), result=bad.result)


def vars_of(frame: Any) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in frame.__dataclass_fields__}


async def test_what_is_too_large_for_its_topic_goes_by_reference(ledger: Ledger) -> None:
    """In another transaction, with the same offset; where that is too large as well it is the end."""
    transactions = await ledger.take_over()
    transactions.fails = [RecordTooLargeError("big")]
    await ledger.sink.deliver([letter()])
    assert transactions.commits[1][1] == 1
    assert transactions.values[1][1] == b""
    await ledger.sink.deliver([letter()])
    assert transactions.values[2][1] == b"xyz"
    transactions.fails = [RecordTooLargeError("big")] * 2
    with pytest.raises(RecordTooLargeError):
        await ledger.sink.deliver([letter()])


async def test_a_lost_partition_is_told_to_who_took_it_over(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and only while it is the one that was lost: it may have been taken over anew."""
    transactions = await ledger.take_over()
    transactions.fails = [LaneLostError("fenced"), LaneLostError("fenced"), SinkUnavailableError("late")]
    with pytest.raises(LaneLostError, match="fenced"):
        await ledger.sink.deliver(outcomes("R"))
    assert ledger.lost == [P]
    assert ledger.seen.retries == [(ledger.sink.name, "fenced")]
    commit = transactions.commit

    async def meanwhile(*given: Any) -> None:
        await ledger.take_over()
        await commit(*given)

    monkeypatch.setattr(transactions, "commit", meanwhile)
    with pytest.raises(LaneLostError, match="fenced"):
        await ledger.sink.deliver(outcomes("R"))
    assert ledger.lost == [P]
    with pytest.raises(LaneLostError, match="partition 1 of frames is not this worker's"):
        await ledger.sink.try_alone(OTHER, 3)


async def test_a_partition_is_left_with_a_note_that_nothing_is_in_flight(ledger: Ledger) -> None:
    """Only where it is left in order; its transactions end either way, and what fails is the next owner's to find."""
    first = await ledger.take_over()
    await ledger.sink.give_up([P, OTHER], in_order=True)
    assert first.commits[1:] == [([], 5, "")]
    assert first.over
    second = await ledger.take_over()
    await ledger.sink.give_up([P], in_order=False)
    assert len(second.commits) == 1
    assert second.over
    third = await ledger.take_over()
    third.fails = [SinkUnavailableError("late")]
    await ledger.sink.give_up([P], in_order=True)
    assert third.over
    with pytest.raises(LaneLostError):
        await ledger.sink.deliver(outcomes("R"))


async def test_a_farewell_is_not_waited_for_for_ever(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not answer holds up no rebalance."""
    monkeypatch.setattr(module, "FAREWELL_S", 0.05)
    transactions = await ledger.take_over()

    async def hangs(*given: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(transactions, "commit", hangs)
    async with asyncio.timeout(10):
        await ledger.sink.give_up([P], in_order=True)
    assert transactions.over


async def test_a_close_ends_everything_and_waits_for_a_moment(ledger: Ledger) -> None:
    """Without farewells: what is left open is aborted by the next owner. Ended ones are waited for while they close."""
    done, closing, last = [await ledger.take_over(partition) for partition in (P, OTHER, P)]
    closing.ending = True
    await ledger.sink.give_up([OTHER], in_order=False)
    await ledger.sink.close()
    assert last.over
    assert closing.waited == last.waited == [3.0]
    assert done.waited == []
    assert len(last.commits) == 1


async def test_results_of_cameras_that_cannot_be_replayed_go_out_plainly(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no offset that could be committed with them."""
    plain: list[Sequence[Outcome]] = []

    async def deliver(self: object, given: Sequence[Outcome]) -> None:
        plain.append(given)

    monkeypatch.setattr(AtLeastOnceSink, "deliver", deliver)
    transactions = await ledger.take_over()
    live = outcomes("RP", replayable=False)
    await ledger.sink.deliver(live)
    assert plain == [live]
    assert len(transactions.commits) == 1


@pytest.mark.parametrize("had_owner", [False, True])
async def test_an_offset_that_was_forgotten_is_not_taken_for_a_beginning(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, had_owner: bool
) -> None:
    """The brokers remember the partition's transactions. An attempt of this worker's own that failed does not count."""
    monkeypatch.setattr(Transactions, "owners", [had_owner, True])
    ledger.consumer.metadata.clear()
    ledger.consumer.fails = [KafkaTimeoutError("late")]
    with pytest.raises(KafkaTimeoutError):
        await ledger.take_over()
    taken = await ledger.sink.take_over(P, ledger.consumer, ledger.lost.append)
    assert (taken.parted is not None) is had_owner
