"""Exactly one committed result for each frame, whatever happens to the workers."""

import asyncio
import signal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from engine.inspection import Verdict
from stream.cloudevents import read_result
from stream.config import MIB, KafkaConfig, Limits
from stream.deadline import Deadline
from stream.errors import LaneLostError, SinkError
from stream.kafka_ledger import KafkaLedger
from stream.kafka_sink import KafkaSink
from stream.kafka_source import KafkaSource
from stream.pipeline import Pipeline
from stream.transactions import PartitionTransactions, transactional_id
from tests.services.kafka import KafkaBroker
from tests.stream.kafka_help import (
    SESSION,
    all_done,
    committed,
    new_topics,
    produce,
    read_topic,
    results_of,
    running,
    until,
    worker,
)
from tests.stream.scripted import Recorder, ScriptedEngine, jpeg


async def send(config: KafkaConfig, label: str, count: int) -> list[str]:
    """Frames of three cameras, one a partition; every tenth is unreadable."""
    ids = [f"{label}{n}" for n in range(count)]
    frames = [(i, f"cam-{n % 3}", b"text" if n % 10 == 7 else jpeg(50)) for n, i in enumerate(ids)]
    await produce(config, frames, partition=True)
    return ids


async def check_once(config: KafkaConfig, ids: list[str]) -> None:
    """One result for each frame, one dead letter for each unreadable one, and order kept within a camera."""
    records = await read_topic(config, config.results_topic)
    results = [read_result(r.headers, r.value) for r in records]
    assert sorted(r.frame_id for r in results) == sorted(ids)
    bad = [r.frame_id for r in results if r.verdict is Verdict.NOT_INSPECTED]
    letters = [dict(r.headers)["ce_id"].decode() for r in await read_topic(config, config.dead_letter_topic)]
    assert sorted(letters) == sorted(bad)
    place = {frame_id: n for n, frame_id in enumerate(ids)}
    for camera in range(3):
        mine = [place[r.frame_id] for r in results if r.camera == f"cam-{camera}"]
        assert mine == sorted(mine)


async def uncommitted(config: KafkaConfig) -> list[tuple[bytes, bytes]]:
    """(frame id, value) of all results that were ever sent, aborted ones too."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=config.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(config.results_topic, number) for number in range(2)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(p) < end for p, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=300)).values():
                found += [(dict(r.headers)["ce_id"], r.value) for r in records]
        return found
    finally:
        await consumer.stop()


@pytest.mark.parametrize("kill_at", [1, 4])
async def test_a_killed_worker_leaves_each_frame_one_result(kafka, unique_name, start, kill_at):
    """Killed with a transaction open, its results sent: another worker commits each frame's result, once."""
    config = await new_topics(kafka, unique_name, **SESSION)
    ids = await send(config, "f", 60)
    killed = await start(config, kill_at=kill_at)
    assert await asyncio.wait_for(killed.process.wait(), 60) == -signal.SIGKILL, killed.printed
    sent = {frame_id.decode() for frame_id, _ in await uncommitted(config)}
    assert sent
    second = await start(config)
    await all_done(config, 60)
    await second.drain()
    await check_once(config, ids)
    assert len(await uncommitted(config)) > 60, "nothing of the open transaction was there to be aborted"


async def test_workers_killed_at_any_time_leave_each_frame_one_result(kafka, unique_name, start):
    """kill -9 from outside, amid the stream, several times, while another worker goes on."""
    config = await new_topics(kafka, unique_name, **SESSION)
    ids = await send(config, "f", 300)
    workers = [await start(config, seconds=0.1), await start(config, seconds=0.1)]
    for turn in range(3):
        before = sum((await committed(config)).values())
        await all_done(config, min(300, before + 25))
        workers[turn % 2].send(signal.SIGKILL)
        workers[turn % 2] = await start(config, seconds=0.1)
    await all_done(config, 300)
    for each in workers:
        await each.drain()
    await check_once(config, ids)


async def test_a_worker_that_wakes_up_in_a_transaction_is_fenced(kafka, unique_name, start):
    """Stopped with a transaction open until another has committed, then continued: it commits nothing, and works on."""
    config = await new_topics(kafka, unique_name, **SESSION)
    ids = await send(config, "a", 60)
    sleeper = await start(config, stop_at=3)
    await until(lambda: "in transaction" in sleeper.printed and sleeper.stopped)
    other = await start(config)
    await all_done(config, 60)
    sleeper.send(signal.SIGCONT)
    await until(lambda: "another worker has taken it over" in sleeper.printed)
    # Both own partitions again, and what comes now is judged once as well.
    await until(lambda: sleeper.printed.rstrip().rpartition("owns ")[2] in ("0", "1", "2", "0 1", "0 2", "1 2"))
    ids += await send(config, "b", 60)
    await all_done(config, 120)
    await other.drain()
    await sleeper.drain()
    await check_once(config, ids)


async def test_a_worker_that_is_fenced_while_the_partition_is_its_own_takes_it_over_again(kafka, unique_name):
    """Fenced by nobody of the group, as when a transaction has expired: the worker joins anew, and goes on, once."""
    config = await new_topics(kafka, unique_name)
    ids = await send(config, "f", 120)
    seen = Recorder()
    async with running(worker(config, seen, ScriptedEngine(seconds=0.05))):
        await until(lambda: len(seen.results) > 12)
        for partition in range(3):
            name = transactional_id(config, TopicPartition(config.frames_topic, partition))
            async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name):
                pass
        await all_done(config, 120)
    assert any("another worker has taken it over" in error for _, error in seen.retries)
    assert len(seen.owned) > 1
    await check_once(config, ids)


async def test_a_worker_that_is_fenced_between_two_sends_knows_that_it_is(kafka, unique_name, monkeypatch):
    """The first record's answer tells of it; the second then finds a producer that takes nothing more."""
    config = await new_topics(kafka, unique_name)
    partition = TopicPartition(config.frames_topic, 0)

    async def committed() -> None:
        """Nothing, as nobody commits."""

    send = AIOKafkaProducer.send

    async def send_late(self, topic, *args, **kwargs):
        if topic == config.dead_letter_topic:
            await until(self._txn_manager.is_fatal_error)
        return await send(self, topic, *args, **kwargs)

    monkeypatch.setattr(AIOKafkaProducer, "send", send_late)
    one, other = (PartitionTransactions(config, partition, committed, max_frame_bytes=MIB) for _ in range(2))
    await one.take_over()
    await other.take_over()
    record = (b"key", b"value", [])
    with pytest.raises(LaneLostError, match="another worker has taken it over"):
        await one.commit([(config.results_topic, record), (config.dead_letter_topic, record)], 1, "")
    await other.commit([(config.results_topic, record)], 1, "")
    for transactions in (one, other):
        transactions.end()
        await transactions.ended(10)
    assert len(await read_topic(config, config.results_topic)) == 1


async def test_a_transaction_that_fails_is_done_again_with_the_same_bytes(kafka, unique_name, monkeypatch):
    """An error that passes aborts the transaction; the same results follow in another, and only they are committed."""
    config = await new_topics(kafka, unique_name)
    send_offsets, failed = AIOKafkaProducer.send_offsets_to_transaction, []

    async def fail_twice(self, offsets, group):
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


async def test_a_commit_whose_answer_is_lost_is_not_done_again(kafka, unique_name, monkeypatch):
    """When the commit arrived and only its answer did not, the committed offset tells, and nothing is sent twice."""
    config = await new_topics(kafka, unique_name)
    commit, lost = AIOKafkaProducer.commit_transaction, []

    async def lose_answer(self):
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


async def test_a_partition_that_cannot_be_taken_over_stops_the_worker(kafka, unique_name):
    """The brokers refuse the producer: the worker ends with their message instead of going on without the partition."""
    config = await new_topics(kafka, unique_name)

    class Refused(KafkaLedger):
        async def take_over(self, partition, committed):
            raise SinkError("not allowed to write transactions")

    ledger = Refused(config)
    pipeline = Pipeline(
        sources=[KafkaSource(config, ledger=ledger)], engine=ScriptedEngine(), ledger=ledger, sinks=[], limits=Limits()
    )
    with pytest.raises(SinkError, match="not allowed to write transactions"):
        await asyncio.wait_for(pipeline.run(), 60)


async def test_sinks_see_only_what_is_committed(kafka, unique_name, monkeypatch):
    """Another sink is given a frame's outcome once, when its result is committed and can be read."""
    config = await new_topics(kafka, unique_name)
    done: dict[int, int] = {}
    commit, seen = AIOKafkaProducer.commit_transaction, Recorder()

    async def note(self):
        await commit(self)
        done[id(self)] = done.get(id(self), 0) + 1

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", note)

    class Told:
        name = "told"

        def __init__(self):
            self.ids = []

        async def open(self):
            pass

        async def deliver(self, outcomes):
            assert done
            committed_ids = {o.frame.frame_id for o in outcomes}
            async with asyncio.timeout(30):  # the broker answers a commit a moment before readers see it
                while not committed_ids <= {r.frame_id for r in await results_of(config)}:
                    await asyncio.sleep(0.05)
            self.ids += [o.frame.frame_id for o in outcomes]

        async def close(self):
            pass

    ledger, told = KafkaLedger(config, observer=seen), Told()
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


async def test_without_transactions_results_and_offsets_are_committed_too(kafka, unique_name):
    """`at_least_once`: an orderly run leaves one result for each frame, and no transaction."""
    config = await new_topics(kafka, unique_name, delivery="at_least_once")
    ids = await send(config, "f", 30)
    seen = Recorder()
    pipeline = Pipeline(
        sources=[KafkaSource(config, observer=seen)],
        engine=ScriptedEngine(),
        sinks=[KafkaSink(config)],
        observer=seen,
    )
    running = asyncio.create_task(pipeline.run())
    await until(lambda: len(seen.results) == 30)
    await pipeline.drain(Deadline(20))
    await running
    await check_once(config, ids)
    assert await committed(config) == {0: 10, 1: 10, 2: 10}


@pytest.mark.slow
async def test_a_broker_that_restarts_leaves_each_frame_one_result(unique_name, start):
    """The broker goes away amid transactions and comes back: the worker goes on, and no result is there twice."""
    with KafkaBroker() as broker:
        broker.start_broker()
        config = await new_topics(broker.bootstrap, unique_name)
        ids = await send(config, "f", 150)
        one = await start(config, seconds=0.1)
        for done in (20, 60):
            await all_done(config, done)
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start_broker)
        await all_done(config, 150, seconds=120)
        await one.drain()
        await check_once(config, ids)
