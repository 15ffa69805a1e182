"""Alarms on the shelf, and cameras that are forgotten, in a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis.asyncio as redis

from patchline.stream.alarms.acknowledgements import acknowledge_alarm
from patchline.stream.alarms.config import AlarmLimits, RedisConfig
from patchline.stream.alarms.shelf import forget_camera, serve_shelf, shelve_alarm, unshelve_alarm
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import Alarm, AlarmEvent, AlarmState
from patchline.stream.model.errors import ConfigError
from patchline.stream.wire.alarms import StoredAlarm, decode_event
from tests.stream.alarm_help import in_stream
from tests.stream.alarms.test_store import outcomes, sink_of
from tests.stream.scripted import Recorder
from tests.stream.waiting import until

HOUR = timedelta(hours=1)
LIMITS = AlarmLimits()


@pytest.fixture
def config(redis_url: str, unique_name: Callable[[str], str]) -> RedisConfig:
    return RedisConfig(url=redis_url, prefix=unique_name("patchline") + ":", timeout_s=1.0)


@pytest.fixture
async def store(config: RedisConfig) -> AsyncIterator[AlarmStore]:
    made = AlarmStore(config, LIMITS)
    yield made
    await made.close()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
async def sink(config: RedisConfig, tmp_path: Path, seen: Recorder) -> AsyncIterator[AlarmSink]:
    made = sink_of(config, tmp_path / "journal", seen)
    await made.open()
    yield made
    await made.close()


async def announced(config: RedisConfig, what: Callable[[], object]) -> list[AlarmEvent]:
    """The events on the channel since `what` was begun."""
    client = redis.from_url(config.url, decode_responses=True)
    channel = client.pubsub(ignore_subscribe_messages=True)
    await channel.subscribe(f"{config.prefix}alarms:live")
    await channel.get_message(timeout=1)
    result = what()
    if asyncio.iscoroutine(result):
        await result
    heard = []
    while (message := await channel.get_message(timeout=0.3)) is not None:
        heard.append(decode_event(message["data"]))
    await channel.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it without types
    await client.aclose()
    return heard


async def test_a_shelved_alarm_is_tracked_and_announced_to_nobody(
    config: RedisConfig, store: AlarmStore, sink: AlarmSink, seen: Recorder
) -> None:
    """Its changes are in the state and in the stream, marked; the channel has only what people did."""
    await sink.deliver(outcomes("P"))
    await until(lambda: bool(seen.alarm_states))

    async def shelved_and_raised() -> None:
        assert await shelve_alarm(store, LIMITS, "cam-1", HOUR, "ada", "lamp")
        await sink.deliver(outcomes("RR", first=1))
        await until(lambda: len(seen.alarm_events) == 1)
        await acknowledge_alarm(store, "cam-1", "ben")

    heard = await announced(config, shelved_and_raised)
    assert [event.change.value for event in heard] == ["shelved", "acknowledged"]
    stream = await in_stream(config)
    assert [(event.change.value, event.shelved) for event in stream] == [
        ("shelved", True),
        ("raised", True),
        ("acknowledged", True),
    ]
    alarm = (await store.load("cam-1")).alarm
    assert (alarm.state, alarm.shelved_by, alarm.shelved_reason) == (AlarmState.ACKNOWLEDGED, "ada", "lamp")
    await until(lambda: seen.shelved == {"cam-1": True})
    back = await unshelve_alarm(store, "cam-1", "ben")
    assert [(event.change.value, event.state.value) for event in back] == [("unshelved", "acknowledged")]
    await until(lambda: seen.shelved == {"cam-1": False})
    assert await unshelve_alarm(store, "cam-1", "ben") == ()


async def test_it_comes_back_by_itself_while_the_line_stands_still(
    config: RedisConfig, store: AlarmStore, sink: AlarmSink, seen: Recorder
) -> None:
    """One of two workers brings it back, with the state that it has then."""
    await sink.deliver(outcomes("RR"))
    await until(lambda: len(seen.alarm_events) == 1)
    second = Recorder()
    other = asyncio.create_task(serve_shelf(store, LIMITS, second))
    await shelve_alarm(store, LIMITS, "cam-1", timedelta(seconds=1.5), "ada")
    await until(lambda: len(seen.alarm_events) + len(second.alarm_events) == 2, seconds=5)
    await asyncio.sleep(1.2)
    events = [event for event in [*seen.alarm_events, *second.alarm_events] if event.operator is None][-1:]
    assert [(event.change.value, event.state.value, event.shelved) for event in events] == [
        ("unshelved", "unacknowledged", None)
    ]
    assert [event.change.value for event in await in_stream(config)] == ["raised", "shelved", "unshelved"]
    assert (await store.load("cam-1")).alarm.shelved is None
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_how_long_is_bounded_also_where_somebody_writes_it(config: RedisConfig, store: AlarmStore) -> None:
    """Nothing, less, more than a shift and a camera that nobody has are refused; 2099 comes back at once."""
    for duration in (timedelta(0), timedelta(seconds=-1), timedelta(hours=8, seconds=1)):
        with pytest.raises(ConfigError, match=r"cannot be shelved for .* at most 8:00:00"):
            await shelve_alarm(store, LIMITS, "cam-1", duration, "ada")
    assert await shelve_alarm(store, LIMITS, "nobody", HOUR, "ada") == ()
    assert await store.cameras() == []
    ahead = Alarm(camera="cam-1", shelved_until=datetime(2099, 1, 1, tzinfo=UTC), shelved_by="eve")
    await store.write([StoredAlarm(ahead, 1)], [])
    told = Recorder()
    serving = asyncio.create_task(serve_shelf(store, LIMITS, told))
    await until(lambda: [event.change.value for event in told.alarm_events] == ["unshelved"], seconds=5)
    assert told.shelved == {}
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def test_a_forgotten_camera_leaves_nothing_and_may_begin_anew(
    config: RedisConfig, store: AlarmStore, sink: AlarmSink, seen: Recorder
) -> None:
    """Its hash and its name go, workers tell no more of it, and its next frames count from the first."""
    await sink.deliver(outcomes("RR") + outcomes("P", camera="cam-2"))
    await until(lambda: len(seen.alarm_states) == 2)
    event = await forget_camera(store, "cam-1", "ada")
    assert event is not None
    assert (event.change.value, event.operator, event.alarm_id) == ("forgotten", "ada", "cam-1/1")
    client = redis.from_url(config.url, decode_responses=True)
    assert await client.keys(f"{config.prefix}alarm:*") == [f"{config.prefix}alarm:cam-2"]
    assert await store.cameras() == ["cam-2"]
    await until(lambda: seen.alarm_states["cam-1"] is None, seconds=5)
    assert await forget_camera(store, "cam-1", "ada") is None
    await sink.deliver(outcomes("PR", first=2))
    await until(lambda: seen.alarm_states["cam-1"] is AlarmState.NORMAL)
    assert (await store.load("cam-1")).alarm.window == "PR"
    assert [event.change.value for event in await in_stream(config)] == ["raised", "forgotten"]
    await client.aclose()
