"""Transactions that fail, of which an answer is lost, or in which the partition is taken away."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata

from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.kafka.transactions import PartitionTransactions
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import LaneLostError
from patchline.stream.model.outcome import Outcome
from patchline.stream.pipeline import Pipeline
from patchline.stream.support.deadline import Deadline
from patchline.stream.wire.cloudevents import Record
from tests.stream.exactly_once_help import check_once, send, uncommitted
from tests.stream.kafka_help import new_topics, read_topic, results_of, running, worker
from tests.stream.scripted import Recorder, ScriptedEngine
from tests.stream.waiting import until


async def test_a_worker_that_is_fenced_between_two_sends_knows_that_it_is(
    kafka: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first record's answer tells of it; the second then finds a producer that takes nothing more."""
    config = await new_topics(kafka, unique_name)
    partition = TopicPartition(config.frames_topic, 0)

    async def committed() -> None:
        """Nothing, as nobody commits."""

    send = AIOKafkaProducer.send

    async def send_late(self: AIOKafkaProducer, topic: str, *args: object, **kwargs: object) -> object:
        if topic == config.dead_letter_topic:
            await until(self._txn_manager.is_fatal_error)
        return await send(self, topic, *args, **kwargs)

    monkeypatch.setattr(AIOKafkaProducer, "send", send_late)
    one, other = (PartitionTransactions(config, partition, committed, max_frame_bytes=MIB) for _ in range(2))
    await one.take_over()
    await other.take_over()
    record: Record = (b"key", b"value", [])
    with pytest.raises(LaneLostError, match="another worker has taken it over"):
        await one.commit([(config.results_topic, record), (config.dead_letter_topic, record)], 1, "")
    await other.commit([(config.results_topic, record)], 1, "")
    for transactions in (one, other):
        transactions.end()
        await transactions.ended(10)
    assert len(await read_topic(config, config.results_topic)) == 1


async def test_a_transaction_that_fails_is_done_again_with_the_same_bytes(
    kafka: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that passes aborts the transaction; the same results follow in another, and only they are committed."""
    config = await new_topics(kafka, unique_name)
    send_offsets = AIOKafkaProducer.send_offsets_to_transaction
    failed: list[dict[TopicPartition, OffsetAndMetadata]] = []

    async def fail_twice(self: AIOKafkaProducer, offsets: dict[TopicPartition, OffsetAndMetadata], group: str) -> None:
        if len(failed) < 2 and any(offset.offset for offset in offsets.values()):  # not the one that takes it over
            failed.append(offsets)
            raise KafkaTimeoutError("scripted")
        await send_offsets(self, offsets, group)

    monkeypatch.setattr(AIOKafkaProducer, "send_offsets_to_transaction", fail_twice)
    ids = await send(config, "f", 12)
    seen = Recorder()
    async with running(worker(config, seen)):
        await until(lambda: len(seen.results) == 12)
    assert sum("scripted" in error for _, error in seen.retries) == 2
    await check_once(config, ids)
    every = await uncommitted(config)
    assert len(every) > 12
    assert len(set(every)) == 12, "a frame's result was sent with other bytes"


async def test_a_commit_whose_answer_is_lost_is_not_done_again(
    kafka: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the commit arrived and only its answer did not, the committed offset tells, and nothing is sent twice."""
    config = await new_topics(kafka, unique_name)
    commit = AIOKafkaProducer.commit_transaction
    lost: list[AIOKafkaProducer] = []

    async def lose_answer(self: AIOKafkaProducer) -> None:
        with_results = bool(self._txn_manager._txn_partitions)
        await commit(self)
        if with_results and len(lost) < 2:
            lost.append(self)
            raise KafkaTimeoutError("scripted")

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", lose_answer)
    ids = await send(config, "f", 12)
    seen = Recorder()
    async with running(worker(config, seen)):
        await until(lambda: sorted(seen.results) == sorted(ids))
    assert len(lost) == 2
    await check_once(config, ids)
    assert len(await uncommitted(config)) == 12


async def test_sinks_see_only_what_is_committed(
    kafka: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sink is given a frame's outcome once, when its result is committed and can be read."""
    config = await new_topics(kafka, unique_name)
    done: dict[int, int] = {}
    commit, seen = AIOKafkaProducer.commit_transaction, Recorder()

    async def note(self: AIOKafkaProducer) -> None:
        await commit(self)
        done[id(self)] = done.get(id(self), 0) + 1

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", note)

    class Told:
        name = "told"

        def __init__(self) -> None:
            self.ids: list[str] = []

        async def open(self) -> None:
            pass

        async def deliver(self, outcomes: Sequence[Outcome]) -> None:
            assert done
            committed_ids = {o.frame.frame_id for o in outcomes}
            async with asyncio.timeout(30):  # the broker answers a commit a moment before readers see it
                while not committed_ids <= {r.frame_id for r in await results_of(config)}:
                    await asyncio.sleep(0.05)
            self.ids += [o.frame.frame_id for o in outcomes]

        async def close(self) -> None:
            pass

    ledger, told = ExactlyOnceSink(config, observer=seen), Told()
    pipeline = Pipeline(
        sources=[KafkaSource(config, observer=seen, ledger=ledger)],
        engine=ScriptedEngine(),
        ledger=ledger,
        sinks=[told],
        observer=seen,
    )
    ids = await send(config, "f", 12)
    running = asyncio.create_task(pipeline.run())
    await until(lambda: len(seen.results) == 12)
    await pipeline.drain(Deadline(20))
    await running
    assert sorted(told.ids) == sorted(ids)
