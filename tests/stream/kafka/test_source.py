import asyncio
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from patchline.engine.types import Verdict
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.kafka.topics import ensure_topics
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import SourceUnavailableError
from patchline.stream.support.deadline import Deadline
from patchline.stream.wire.frames import frame_headers
from patchline.stream.wire.results import DEAD_LETTER, RESULT, original_headers, read_result
from tests.services.kafka import KafkaBroker
from tests.stream.kafka_help import (
    FRAME_BYTES,
    committed,
    new_topics,
    nothing_in_flight,
    produce,
    read_topic,
    results_of,
    running,
    worker,
)
from tests.stream.scripted import Recorder, ScriptedEngine, jpeg
from tests.stream.waiting import until


async def test_frames_become_results_and_dead_letters(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Each frame of three cameras has one result in order; unreadable ones are dead-lettered with their bytes."""
    config = await new_topics(kafka, unique_name)
    rng = random.Random(3)
    values, bad = {}, {}
    for number in range(60):
        frame_id, camera = f"f{number}", f"cam-{number % 3}"
        if number % 10 == 7:
            value = rng.choice([b"", b"text", jpeg(50)[:-40]])
            bad[frame_id] = value
        else:
            value = jpeg(50 if rng.random() < 0.8 else 200)
        values[frame_id] = (camera, value)
    await produce(config, [(i, camera, value) for i, (camera, value) in values.items()], partition=True)
    seen = Recorder()
    async with running(worker(config, seen)):
        await until(lambda: len(seen.results) == 60)
        await until(lambda: seen.lag == {(config.frames_topic, n): 0 for n in range(3)})

    records = await read_topic(config, config.results_topic)
    results = [read_result(record.headers, record.value) for record in records]
    assert sorted(r.frame_id for r in results) == sorted(values)
    assert {r.frame_id for r in results if r.verdict is Verdict.NOT_INSPECTED} == set(bad)
    for record, result in zip(records, results, strict=True):
        assert record.key == result.camera.encode() == values[result.frame_id][0].encode()
        assert dict(record.headers)["ce_type"] == RESULT.encode()
    for number in range(3):
        in_order = [int(r.frame_id[1:]) for r in results if r.camera == f"cam-{number}"]
        assert in_order == sorted(in_order)
    letters = await read_topic(config, config.dead_letter_topic)
    assert {dict(r.headers)["ce_id"].decode(): r.value or b"" for r in letters} == bad
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers}
        assert headers["ce_type"] == DEAD_LETTER
        assert headers["ce_reason"] in ("empty", "not_an_image", "truncated")
        assert headers["ce_frametopic"] == config.frames_topic
        assert dict(original_headers(letter.headers))["ce_type"] == b"io.patchline.frame.v1"
    assert await committed(config) == {0: 20, 1: 20, 2: 20}


def _has_results(seen: Recorder, count: int) -> bool:
    return len(seen.results) == count


async def test_a_second_worker_goes_on_where_the_first_stopped(kafka: str, unique_name: Callable[[str], str]) -> None:
    """After a drain nothing is left uncommitted: the next worker sees only new frames."""
    config = await new_topics(kafka, unique_name)
    await produce(config, [(f"a{n}", f"cam-{n % 3}", jpeg(50)) for n in range(30)])
    for expected in ("a", "b"):
        seen = Recorder()
        async with running(worker(config, seen)):
            await until(partial(_has_results, seen, 30))
        assert {frame_id[0] for frame_id in seen.results} == {expected}
        await produce(config, [(f"b{n}", f"cam-{n % 3}", jpeg(50)) for n in range(30)])


async def test_workers_share_partitions_and_lose_none(kafka: str, unique_name: Callable[[str], str]) -> None:
    """A worker that joins and one that leaves take partitions over, in order; every frame has its result, once."""
    config = await new_topics(kafka, unique_name, partition_buffer_frames=0)
    ids: list[str] = []
    fed = asyncio.Event()
    feeding = asyncio.create_task(_feed(config, ids, fed))
    first, second = Recorder(), Recorder()
    one, two = worker(config, first, ScriptedEngine(seconds=0.01)), worker(config, second, ScriptedEngine(seconds=0.01))
    running = [asyncio.create_task(one.run())]
    await until(lambda: len(first.results) > 30)
    running.append(asyncio.create_task(two.run()))
    await until(lambda: len(second.results) > 20)
    await one.drain(Deadline(20))
    await until(lambda: (0, 1, 2) in second.owned)
    taken_over = len(second.results)
    await until(lambda: len(second.results) > taken_over + 20)
    fed.set()
    await feeding
    await until(lambda: set(first.results) | set(second.results) == set(ids))
    await two.drain(Deadline(20))
    await asyncio.gather(*running)
    assert not first.crashes
    assert not second.crashes, "a partition handed over in order was taken for one of a crashed worker"
    results = [r.frame_id for r in await results_of(config)]
    assert sorted(results) == sorted(ids)


async def _feed(config: KafkaConfig, ids: list[str], fed: asyncio.Event) -> None:
    """Produce frames, noting their ids, until told that it is enough: however slow the machine, work is left."""
    while not fed.is_set():
        new = [f"f{len(ids) + n}" for n in range(6)]
        await produce(config, [(i, f"cam-{int(i[1:]) % 3}", jpeg(50)) for i in new], partition=True)
        ids.extend(new)
        await asyncio.sleep(0.03)


async def test_frames_in_flight_of_lost_partitions_are_abandoned_when_they_take_too_long(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """A stuck worker gives up its frames in flight at a rebalance; the other worker judges them, and it alone."""
    config = await new_topics(kafka, unique_name, revoke_timeout_s=0.5)
    ids = [f"f{n}" for n in range(30)]
    await produce(config, [(i, f"cam-{int(i[1:]) % 3}", jpeg(50)) for i in ids], partition=True)
    gate, stuck, free = threading.Event(), Recorder(), Recorder()
    one, two = worker(config, stuck, ScriptedEngine(gate=gate)), worker(config, free)
    running = [asyncio.create_task(one.run())]
    await until(lambda: sum(stuck.received.values()) == 30)
    running.append(asyncio.create_task(two.run()))
    await until(lambda: len(free.results) >= 10)
    gate.set()
    await until(lambda: set(free.results) | set(stuck.results) == set(ids))
    await one.drain(Deadline(20))
    await two.drain(Deadline(20))
    await asyncio.gather(*running)
    results = [r.frame_id for r in await results_of(config)]
    assert sorted(results) == sorted(ids)


async def test_a_stuck_engine_stops_the_reading(kafka: str, unique_name: Callable[[str], str]) -> None:
    """With the engine stuck, memory is bounded: frames in flight and small buffers, whatever waits in the topic."""
    config = await new_topics(kafka, unique_name, partition_buffer_frames=5)
    await produce(config, [(f"f{n}", f"cam-{n % 3}", jpeg(50)) for n in range(150)], partition=True)
    gate, seen = threading.Event(), Recorder()
    async with running(worker(config, seen, ScriptedEngine(gate=gate), max_in_flight=10)):
        await until(lambda: sum(seen.received.values()) >= 10)
        await asyncio.sleep(1)
        assert sum(seen.received.values()) in (10, 11)
        assert seen.depth["kafka_buffer"] <= 3 * (5 + 5)
        assert sum(seen.lag.values()) == 150
        gate.set()
        await until(lambda: len(seen.results) == 150)


async def test_records_that_are_no_frames_are_results_too(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Without headers, with headers of another type, without a value: one result each, named by position."""
    config = await new_topics(kafka, unique_name)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(config.frames_topic, jpeg(50), partition=0)
    await producer.send_and_wait(config.frames_topic, None, key=b"cam-7", partition=0)
    await producer.send_and_wait(
        config.frames_topic, jpeg(50), partition=0, headers=[("ce_id", b"\xff\xfe"), ("ce_source", b"cam-1")]
    )
    await producer.stop()
    seen = Recorder()
    async with running(worker(config, seen)):
        await until(lambda: len(seen.results) == 3)
    results = await results_of(config)
    assert {(r.frame_id, r.camera) for r in results} == {
        (f"{config.frames_topic}/0/0", "unknown"),
        (f"{config.frames_topic}/0/1", "cam-7"),
        (f"{config.frames_topic}/0/2", "cam-1"),
    }
    assert {r.reason for r in results} == {"malformed_record"}
    assert all("ce_id" in (r.detail or "") for r in results)


async def test_topics_are_made_with_room_and_missing_ones_are_named(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """`ensure_topics` may be repeated and raises the limit; a source says which topic is not there."""
    config = await new_topics(kafka, unique_name)
    assert await ensure_topics(config, max_frame_bytes=FRAME_BYTES) == []
    assert await ensure_topics(config, max_frame_bytes=FRAME_BYTES // MIB * MIB + MIB) == []
    source = KafkaSource(KafkaConfig(bootstrap_servers=kafka, frames_topic=unique_name("nowhere")))
    with pytest.raises(SourceUnavailableError, match="has no topic 'nowhere"):
        await source.open(nothing_in_flight)
    with pytest.raises(SourceUnavailableError, match=r"127\.0\.0\.1:1"):
        await KafkaSource(KafkaConfig(bootstrap_servers="127.0.0.1:1")).open(nothing_in_flight)


async def test_other_settings_of_a_topic_that_exists_stay(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Where it takes too small records, that alone is changed; and told, from what to what."""
    name = unique_name("frames")
    given = {"retention.ms": "7200000", "message.timestamp.type": "LogAppendTime", "max.message.bytes": str(MIB)}
    config = KafkaConfig(
        bootstrap_servers=kafka,
        frames_topic=name,
        results_topic=unique_name("results"),
        dead_letter_topic=unique_name("dead"),
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=given)])
        seen = Recorder()
        await ensure_topics(config, max_frame_bytes=FRAME_BYTES, replication=1, observer=seen)
        room, found = str(FRAME_BYTES + MIB), dict[str, str]()
        async with asyncio.timeout(20):
            while found.get("max.message.bytes") != room:  # brokers tell of a change when they have it
                answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
                entries = [entry for answer in answers for *_, entries in answer.resources for entry in entries]
                found = {entry[0]: entry[1] for entry in entries}
    finally:
        await admin.close()
    assert {key: found[key] for key in given} == given | {"max.message.bytes": room}
    assert seen.topic_settings == [(name, "max.message.bytes", str(MIB), room, None)]


async def test_nothing_lags_behind_what_is_no_frame(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Ends of transactions, and frames whose transaction was aborted, leave nothing to be read."""
    config = await new_topics(kafka, unique_name)
    seen = Recorder()
    async with running(worker(config, seen)):
        await produce(config, [("before", "cam-0", jpeg(50))], partition=True)
        producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=unique_name("frames"))
        await producer.start()
        for count, end in ((1, producer.commit_transaction), (20, producer.abort_transaction)):
            await producer.begin_transaction()
            headers = frame_headers(frame_id=f"in {count}", camera="cam-0", time=datetime.now(UTC), recipe="plate")
            for _ in range(count):
                await producer.send_and_wait(config.frames_topic, jpeg(50), partition=0, headers=headers)
            await end()
        await producer.stop()
        await until(lambda: sorted(seen.results) == ["before", "in 1"])
        await until(lambda: seen.lag.get((config.frames_topic, 0)) == 0, seconds=10)
        assert (await committed(config))[0] < 20


async def test_another_program_in_the_group_is_waited_for(kafka: str, unique_name: Callable[[str], str]) -> None:
    """The worker lives, says why it reads nothing, and goes on when that has left."""
    config = await new_topics(kafka, unique_name)
    other = AIOKafkaConsumer(config.frames_topic, bootstrap_servers=kafka, group_id=config.group)
    await other.start()
    try:
        seen = Recorder()
        async with running(worker(config, seen)):
            await until(lambda: "another program" in str(seen.kafka_told[-1:]), seconds=20)
            up, why = seen.kafka_told[-1]
            assert up
            assert f"the consumer group {config.group!r}" in str(why)
            await other.stop()
            await produce(config, [(f"f{n}", f"cam-{n % 3}", jpeg(50)) for n in range(6)], partition=True)
            await until(lambda: len(seen.results) == 6)
            await until(lambda: seen.kafka_told[-1] == (True, None), seconds=10)
    finally:
        await other.stop()


@pytest.mark.slow
async def test_a_broker_that_restarts_loses_nothing(unique_name: Callable[[str], str]) -> None:
    """While the broker is away results wait, and that is told; when it is back every frame has one."""
    with KafkaBroker() as broker:
        broker.start_broker()
        config = await new_topics(broker.bootstrap, unique_name)
        ids = [f"f{n}" for n in range(120)]
        await produce(config, [(i, f"cam-{int(i[1:]) % 3}", jpeg(50)) for i in ids], partition=True)
        seen = Recorder()
        async with running(worker(config, seen, ScriptedEngine(seconds=0.05)), drain_s=30):
            await until(lambda: len(seen.results) > 20)
            await asyncio.to_thread(broker.stop)
            await until(lambda: seen.kafka_told[-1][0] is False, seconds=20)
            assert broker.bootstrap in str(seen.kafka_told[-1][1])
            await asyncio.to_thread(broker.start_broker)
            await until(lambda: set(seen.results) == set(ids), seconds=90)
            await until(lambda: seen.kafka_told[-1] == (True, None), seconds=20)
        results = [r.frame_id for r in await results_of(config)]
        assert set(results) == set(ids)
