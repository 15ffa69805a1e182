"""Alarms are those of the committed results, each once and in order, whatever happens to workers and to Redis."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial

import pytest
import redis.asyncio as redis
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.result_logs import KafkaResultLogs
from patchline.stream.model.alarm import Alarm, AlarmConfig
from patchline.stream.model.errors import AlarmGap, SinkError
from tests.services.redis import RedisServer
from tests.stream.alarm_help import Events, expected, found
from tests.stream.alarms.test_store import outcomes
from tests.stream.conftest import Worker
from tests.stream.kafka_help import SESSION, all_done, new_topics, produce
from tests.stream.scripted import Recorder, jpeg
from tests.stream.waiting import until

RULE = AlarmConfig(k=2, n=4, m=2)
SCRIPT = "RRPPRPRPP"
"""Raised, returned, reraised, returned."""


async def states(where: RedisConfig) -> list[Alarm]:
    """Every camera's alarm."""
    store = AlarmStore(where)
    try:
        return [stored.alarm for stored in await store.all()]
    finally:
        await store.close()


async def agree(config: KafkaConfig, where: RedisConfig, *, seconds: float = 60) -> None:
    """Wait until the alarm stream has the events of the results; then it has no other."""
    wanted = await expected(config, RULE)
    assert sum(map(len, wanted.values())) > 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while await found(where) != wanted:
                await asyncio.sleep(0.1)
    assert await found(where) == wanted


async def back(where: RedisConfig, events: Events) -> None:
    """Wait until Redis has the events again: two seconds, and one for a machine that does other things as well."""
    async with asyncio.timeout(3):
        while await found(where) != events:
            await asyncio.sleep(0.05)


async def publish(config: KafkaConfig, script: str, *, first: int = 0, replayable: bool = True) -> None:
    """Results of two cameras, as a worker without transactions publishes them."""
    sink = AtLeastOnceSink(config)
    for camera in ("cam-1", "cam-2"):
        await sink.deliver(outcomes(script, camera=camera, first=first, replayable=replayable))
    await sink.close()


def sink_of(config: KafkaConfig, where: RedisConfig, seen: Recorder | None = None, **more: float) -> AlarmSink:
    return AlarmSink(where, RULE, KafkaResultLogs(config, observer=seen, **more), observer=seen)


def followed(sink: AlarmSink) -> set[str]:
    """The partitions that are its own."""
    return set(sink._follower._logs)


async def send(config: KafkaConfig, turns: int, *, first: int = 0) -> None:
    """Frames of three cameras, one a partition: each camera's verdicts are the script, again and again."""
    bright, dark = jpeg(150), jpeg(50)
    frames = [
        (f"cam-{camera}/{n}", f"cam-{camera}", bright if SCRIPT[(n + camera) % len(SCRIPT)] == "R" else dark)
        for n in range(first, first + turns)
        for camera in range(3)
    ]
    await produce(config, frames, partition=True)


@pytest.fixture
def where(redis_url: str, unique_name: Callable[[str], str]) -> RedisConfig:
    return RedisConfig(url=redis_url, prefix=unique_name("p") + ":")


async def test_workers_share_the_results_and_take_over_from_one_another(
    kafka: str, unique_name: Callable[[str], str], where: RedisConfig
) -> None:
    """Two workers have a partition of results each; one leaves, the other goes on from the same states."""
    config = await new_topics(kafka, unique_name)
    seen = [Recorder(), Recorder()]
    sinks = [sink_of(config, where, each) for each in seen]
    for sink in sinks:
        await sink.open()
    await until(lambda: all(len(followed(sink)) == 1 for sink in sinks))
    await publish(config, SCRIPT)
    await agree(config, where)
    await sinks[0].close()
    assert set(seen[0].alarm_states.values()) <= {None}
    await publish(config, SCRIPT, first=20)
    await agree(config, where)
    await sinks[1].close()
    told = sum(len(each.alarm_events) for each in seen)
    assert told == sum(map(len, (await expected(config, RULE)).values()))


async def test_a_result_that_is_there_twice_counts_once(
    kafka: str, unique_name: Callable[[str], str], where: RedisConfig
) -> None:
    """`at_least_once` publishes results again after a crash: the frame's position tells."""
    config = await new_topics(kafka, unique_name, delivery="at_least_once")
    await publish(config, "RP")
    await publish(config, "RPRP")
    seen = Recorder()
    sink = sink_of(config, where, seen)
    await sink.open()
    await until(lambda: len(seen.alarm_events) == 2)
    await sink.close()
    assert [alarm.window for alarm in await states(where)] == ["RPRP", "RPRP"]


@pytest.mark.parametrize("dies", ["kill_at_alarm", "kill_after_alarm"])
async def test_a_worker_killed_between_commit_and_alarm_loses_none(
    kafka: str,
    unique_name: Callable[[str], str],
    where: RedisConfig,
    start: Callable[..., Awaitable[Worker]],
    dies: str,
) -> None:
    """Killed with results committed, before or after Redis has their alarms: another worker writes them, once."""
    config = await new_topics(kafka, unique_name, **SESSION)
    await send(config, 18)
    given = {"redis": asdict(where), "alarms": asdict(RULE)}
    killed = await start(config, **given, **{dies: 1})
    assert await asyncio.wait_for(killed.process.wait(), 60) == -signal.SIGKILL, killed.printed
    second = await start(config, **given)
    await all_done(config, 54)
    await agree(config, where)
    await second.drain()
    assert await found(where) == await expected(config, RULE)


async def test_a_redis_that_lost_everything_has_its_alarms_made_anew(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    """Redis keeps nothing and restarts, or is emptied: the same events and states are there again, without a frame."""
    config = await new_topics(kafka, unique_name)
    with RedisServer() as server:
        server.start_redis()
        where = RedisConfig(url=server.url, timeout_s=1.0)
        sink = sink_of(config, where)
        await sink.open()
        await publish(config, SCRIPT)
        await agree(config, where)
        before, events = await states(where), await found(where)
        server.kill()
        await asyncio.sleep(3)
        server.start_redis()
        await back(where, events)
        assert await states(where) == before
        client = redis.from_url(where.url)
        await client.flushall()
        await back(where, events)
        assert await states(where) == before
        await client.aclose()
        await sink.close()


async def test_a_redis_with_older_data_is_brought_up_to_date(
    kafka: str, unique_name: Callable[[str], str], where: RedisConfig
) -> None:
    """Redis comes back with what it had some time ago: the alarms since are applied again, each once."""
    config = await new_topics(kafka, unique_name)
    client = redis.from_url(where.url)
    sink = sink_of(config, where)
    await sink.open()
    await publish(config, SCRIPT[:3])
    await agree(config, where)
    keys = await client.keys(f"{where.prefix}alarm*")
    saved = {key: dumped for key in keys if (dumped := await client.dump(key)) is not None}
    await publish(config, SCRIPT[3:], first=3)
    await agree(config, where)
    async with client.pipeline(transaction=True) as restore:
        for key, dumped in saved.items():
            restore.restore(key, 0, dumped, replace=True)
        await restore.execute()
    await agree(config, where, seconds=5)
    await sink.close()
    await client.aclose()


async def test_results_that_expired_while_redis_was_away_are_counted(
    kafka: str, unique_name: Callable[[str], str], where: RedisConfig
) -> None:
    """What the topic no longer has is a gap: counted, and followed by what is there."""
    config = await new_topics(kafka, unique_name)
    sink = sink_of(config, where)
    await sink.open()
    await publish(config, "PP")
    await publish(config, "RR", first=2)
    await agree(config, where)
    await sink.close()
    await publish(config, "PPP", first=4)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    partitions = [TopicPartition(config.results_topic, number) for number in range(2)]
    await admin.delete_records({partition: RecordsToDelete(before_offset=-1) for partition in partitions})
    await admin.close()
    await publish(config, "PP", first=7)
    seen = Recorder()
    again = sink_of(config, where, seen)
    await again.open()
    await until(lambda: len(seen.alarm_events) == 2)
    await again.close()
    assert seen.alarm_gaps == {AlarmGap.EXPIRED: 6}
    assert {event.frame_id for event in seen.alarm_events} == {"cam-1/8", "cam-2/8"}


async def test_how_far_alarms_are_rebuilt_is_bounded(
    kafka: str, unique_name: Callable[[str], str], where: RedisConfig
) -> None:
    """Where Redis knows nothing, results older than the bound are left alone."""
    config = await new_topics(kafka, unique_name)
    await publish(config, "RR")
    await asyncio.sleep(0.05)
    seen = Recorder()
    sink = sink_of(config, where, seen, rebuild_s=0.01)
    await sink.open()
    await until(lambda: len(followed(sink)) == 2)
    await sink._follower.catch_up()
    await publish(config, "PRPR", first=2)
    await until(lambda: len(seen.alarm_events) == 2)
    await sink.close()
    assert {event.frame_id for event in seen.alarm_events} == {"cam-1/5", "cam-2/5"}


async def test_alarms_wait_on_disk_while_redis_restarts(kafka: str, unique_name: Callable[[str], str]) -> None:
    """Redis is killed amid writes, again and again, and stays away for a while: no alarm is lost, none comes twice."""
    config = await new_topics(kafka, unique_name)
    with RedisServer(durable=True) as server:
        server.start_redis()
        where = RedisConfig(url=server.url, timeout_s=1.0)
        seen = Recorder()
        sink = sink_of(config, where, seen)
        await sink.open()
        for turn in range(4):
            publishing = asyncio.create_task(publish(config, SCRIPT * 20, first=turn * 360))
            told = len(seen.alarm_events)
            await until(partial(lambda before: len(seen.alarm_events) > before, told))
            server.kill()
            await publishing
            await publish(config, SCRIPT * 20, first=turn * 360 + 180)
            server.start_redis()
            await until(partial(lambda before: len(seen.alarm_events) > before, len(seen.alarm_events)))
        await agree(config, where)
        await sink.close()
    ids = [(event.camera, event.frame_id, event.change) for event in seen.alarm_events]
    assert len(ids) == len(set(ids))


async def test_a_group_that_is_refused_stops_the_worker(
    kafka: str, unique_name: Callable[[str], str], where: RedisConfig
) -> None:
    """What the results topic's group refuses for good is raised by the next delivery."""
    config = await new_topics(kafka, unique_name)
    logs = KafkaResultLogs(config)
    sink = AlarmSink(where, RULE, logs)
    await sink.open()
    assert logs._follower is not None
    logs._follower.failed(SinkError("not authorised to access the group"))
    with pytest.raises(SinkError, match="not authorised"):
        await sink.deliver(outcomes("R"))
    await sink.close()
