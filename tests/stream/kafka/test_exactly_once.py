"""Exactly one committed result for each frame, whatever happens to the workers."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.kafka.offsets import Lost, Takeover
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.kafka.transactions import transactional_id
from patchline.stream.model.errors import SinkError
from patchline.stream.model.limits import Limits
from patchline.stream.pipeline import Pipeline
from patchline.stream.support.deadline import Deadline
from tests.services.kafka import KafkaBroker
from tests.stream.conftest import Worker
from tests.stream.exactly_once_help import check_once, send, uncommitted
from tests.stream.kafka_help import SESSION, all_done, committed, new_topics, running, worker
from tests.stream.scripted import Recorder, ScriptedEngine
from tests.stream.waiting import until


@pytest.mark.parametrize("kill_at", [1, 4])
async def test_a_killed_worker_leaves_each_frame_one_result(
    kafka: str, unique_name: Callable[[str], str], start: Callable[..., Awaitable[Worker]], kill_at: int
) -> None:
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


async def test_workers_killed_at_any_time_leave_each_frame_one_result(
    kafka: str, unique_name: Callable[[str], str], start: Callable[..., Awaitable[Worker]]
) -> None:
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


async def test_a_worker_that_wakes_up_in_a_transaction_is_fenced(
    kafka: str, unique_name: Callable[[str], str], start: Callable[..., Awaitable[Worker]]
) -> None:
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


async def test_a_worker_that_is_fenced_while_the_partition_is_its_own_takes_it_over_again(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
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


async def test_a_partition_that_cannot_be_taken_over_stops_the_worker(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """The brokers refuse the producer: the worker ends with their message instead of going on without the partition."""
    config = await new_topics(kafka, unique_name)

    class Refused(ExactlyOnceSink):
        async def take_over(
            self, partition: TopicPartition, consumer: AIOKafkaConsumer, lost: Lost, known: Collection[str] = ()
        ) -> Takeover:
            raise SinkError("not allowed to write transactions")

    ledger = Refused(config)
    pipeline = Pipeline(
        sources=[KafkaSource(config, ledger=ledger)], engine=ScriptedEngine(), ledger=ledger, sinks=[], limits=Limits()
    )
    with pytest.raises(SinkError, match="not allowed to write transactions"):
        await asyncio.wait_for(pipeline.run(), 60)


async def test_without_transactions_results_and_offsets_are_committed_too(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """`at_least_once`: an orderly run leaves one result for each frame, and no transaction."""
    config = await new_topics(kafka, unique_name, delivery="at_least_once")
    ids = await send(config, "f", 30)
    seen = Recorder()
    pipeline = Pipeline(
        sources=[KafkaSource(config, observer=seen)],
        engine=ScriptedEngine(),
        sinks=[AtLeastOnceSink(config)],
        observer=seen,
    )
    running = asyncio.create_task(pipeline.run())
    await until(lambda: len(seen.results) == 30)
    await pipeline.drain(Deadline(20))
    await running
    await check_once(config, ids)
    assert await committed(config) == {0: 10, 1: 10, 2: 10}


@pytest.mark.slow
async def test_a_broker_that_restarts_leaves_each_frame_one_result(
    unique_name: Callable[[str], str], start: Callable[..., Awaitable[Worker]]
) -> None:
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
