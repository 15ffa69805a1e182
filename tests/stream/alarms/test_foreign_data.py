"""What people and other programs write to Redis ends nothing: it is told, and removed or passed over."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from patchline.stream.alarms.config import AlarmLimits, JournalConfig, RedisConfig
from patchline.stream.alarms.journal import AlarmJournal
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.alarms.written import Written
from patchline.stream.model.alarm import Alarm, AlarmConfig, AlarmState
from patchline.stream.model.errors import AlarmGap, Foreign
from patchline.stream.wire.alarms import StoredAlarm
from tests.stream.alarms.test_store import ALARMS, outcomes, sink_of
from tests.stream.scripted import Recorder
from tests.stream.waiting import until

GOOD_STATE = {"camera": "cam-1", "state": "normal", "window": "P", "passes": "1", "version": "7", "last": ""}


@pytest.fixture
def config(redis_url: str, unique_name: Callable[[str], str]) -> RedisConfig:
    return RedisConfig(url=redis_url, prefix=unique_name("patchline") + ":", timeout_s=1.0)


@pytest.mark.parametrize(
    "state",
    [
        {"state": "on fire"},
        GOOD_STATE | {"state": "loud"},
        GOOD_STATE | {"version": "many"},
        GOOD_STATE | {"version": "007"},
        GOOD_STATE | {"version": "9" * 40},
        GOOD_STATE | {"window": "X" * 200_000},
        GOOD_STATE | {"window": "P" * 200_000},
        GOOD_STATE | {"passes": "-1"},
        GOOD_STATE | {"raised_at": "2026-01-01T00:00:00"},
        GOOD_STATE | {"state": "unacknowledged"},
        GOOD_STATE | {"alarm_id": b"\xff\xfe"},
        GOOD_STATE | {"acknowledged_by": "x" * 2_000_000},
        {b"\xff": b"\xff"},
        "a string",
        ["a", "list"],
    ],
)
async def test_a_state_that_is_not_ours_is_replaced(config: RedisConfig, tmp_path: Path, state: Any) -> None:
    """The alarm begins as normal, and the next frames raise it; what was there is told once, in a short line."""
    client, seen = redis.from_url(config.url), Recorder()
    key = f"{config.prefix}alarm:cam-1"
    if isinstance(state, str):
        await client.set(key, state)
    elif isinstance(state, list):
        await client.rpush(key, *state)
    else:
        await client.hset(key, mapping=state)
    sink = sink_of(config, tmp_path / "journal", seen)
    await sink.open()
    await sink.deliver(outcomes("RR"))
    await until(lambda: len(seen.alarm_events) == 1)
    assert [what for what, _ in seen.passed_over] == [Foreign.ALARM_STATE]
    assert all(len(detail) < 400 and "cam-1" in detail for _, detail in seen.passed_over)
    store = AlarmStore(config)
    assert (await store.load("cam-1")).alarm.state is AlarmState.UNACKNOWLEDGED
    assert await client.type(key) == b"hash"
    await sink.close()
    await store.close()
    await client.aclose()


@pytest.mark.parametrize("name", ["alarms", "alarm-cameras", "alarm-positions", "alarms:ack"])
async def test_a_key_of_another_type_in_place_of_ours_goes(config: RedisConfig, tmp_path: Path, name: str) -> None:
    """It is removed and told, the alarm is raised, and acknowledgements are served."""
    client, seen = redis.from_url(config.url, decode_responses=True), Recorder()
    await client.set(config.prefix + name, "not ours")
    sink = sink_of(config, tmp_path / "journal", seen)
    await sink.open()
    await sink.deliver(outcomes("RR"))
    await until(lambda: len(seen.alarm_events) == 1)
    await until(lambda: len(seen.passed_over) > 0)
    store = AlarmStore(config)
    await until_served(store, client, config)
    assert [event.change.value for event in seen.alarm_events] == ["raised", "acknowledged"]
    kinds = {
        "alarms": Foreign.ALARM_EVENT,
        "alarm-cameras": Foreign.ALARM_CAMERA,
        "alarm-positions": Foreign.ALARM_POSITION,
        "alarms:ack": Foreign.ACKNOWLEDGEMENT,
    }
    assert [what for what, _ in seen.passed_over] == [kinds[name]]
    assert await client.type(config.prefix + name) != "string"
    assert await store.cameras() == ["cam-1"]
    await sink.close()
    await store.close()
    await client.aclose()


async def until_served(store: AlarmStore, client: redis.Redis, config: RedisConfig) -> None:
    """Acknowledge, and wait until a worker has done it."""
    await store.request_acknowledgement("cam-1", "ada")
    async with asyncio.timeout(20):
        while (await store.load("cam-1")).alarm.state is not AlarmState.ACKNOWLEDGED:
            await asyncio.sleep(0.05)
        while await client.xlen(f"{config.prefix}alarms:ack"):
            await asyncio.sleep(0.05)


async def test_odd_acknowledgements_are_removed_and_the_next_is_served(config: RedisConfig, tmp_path: Path) -> None:
    """Not UTF-8, huge, empty, many fields, names that nobody has: none stops the task, each is counted."""
    client, seen = redis.from_url(config.url), Recorder()
    sink = sink_of(config, tmp_path / "journal", seen)
    await sink.open()
    await sink.deliver(outcomes("RR"))
    await until(lambda: len(seen.alarm_events) == 1)
    odd: list[dict[Any, Any]] = [
        {"foo": "bar"},
        {b"\xff\xfe": b"\x00\xff"},
        {"camera": b"\xff\xff", "operator": "ada"},
        {"camera": "cam-1", "operator": "x" * 20_000_000},
        {"camera": "", "operator": ""},
        {f"field-{number}": "x" for number in range(5000)},
        {"camera": "cam-1\x00", "operator": "\x1b[31mred"},
    ]
    for fields in odd:
        await client.xadd(f"{config.prefix}alarms:ack", fields)
    store = AlarmStore(config)
    await until_served(store, client, config)
    assert Counter(what for what, _ in seen.passed_over) == {Foreign.ACKNOWLEDGEMENT: len(odd) - 1}
    assert all(len(detail) < 400 and detail.isprintable() for _, detail in seen.passed_over)
    assert await store.cameras() == ["cam-1"]
    await sink.close()
    await store.close()
    await client.aclose()


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "9" * 30, "007", b"\xff"])
async def test_a_position_that_is_no_number_counts_as_none(config: RedisConfig, text: str | bytes) -> None:
    """It is told once, and the next write replaces it."""
    client, seen = redis.from_url(config.url), Recorder()
    store = AlarmStore(config, observer=seen)
    await client.hset(f"{config.prefix}alarm-positions", "log", text)
    assert [await store.position("log"), await store.position("log")] == [None, None]
    assert [what for what, _ in seen.passed_over] == [Foreign.ALARM_POSITION]
    from patchline.stream.alarms.written import Advance

    assert (await store.write([], [], Advance("log", None, 5))).written is Written.WRITTEN
    assert await store.position("log") == 5
    await store.close()
    await client.aclose()


async def test_names_in_the_set_that_are_no_cameras_are_passed_over(config: RedisConfig) -> None:
    """Those of cameras are listed; each other is told once."""
    client, seen = redis.from_url(config.url), Recorder()
    store = AlarmStore(config, observer=seen)
    await client.sadd(f"{config.prefix}alarm-cameras", "cam-1", b"\xff", "x" * 1000)
    assert [stored.alarm.camera for stored in await store.all()] == ["cam-1"]
    assert await store.cameras() == ["cam-1"]
    assert [what for what, _ in seen.passed_over] == [Foreign.ALARM_CAMERA] * 2
    await store.close()
    await client.aclose()


async def test_messages_on_the_channel_that_are_no_events_are_passed_over(config: RedisConfig) -> None:
    """Whoever watches sees the next event."""
    client, seen = redis.from_url(config.url), Recorder()
    store, subscribed = AlarmStore(config, observer=seen), asyncio.Event()
    live = store.live(subscribed.set)
    watching = asyncio.ensure_future(anext(live))
    await subscribed.wait()
    for message in (b"\xff", b"{}", b"[" * 100_000, b"x" * 1_000_000):
        await client.publish(f"{config.prefix}alarms:live", message)
    event = b'{"camera": "cam-1", "alarm_id": "f", "change": "raised", "state": "unacknowledged"'
    await client.publish(f"{config.prefix}alarms:live", event + b', "time": "2026-01-01T00:00:00Z"}')
    assert (await asyncio.wait_for(watching, 20)).camera == "cam-1"
    assert [what for what, _ in seen.passed_over] == [Foreign.ALARM_EVENT] * 4
    await live.aclose()
    await store.close()
    await client.aclose()


async def test_a_right_that_is_withdrawn_leaves_no_half_of_a_change(tmp_path: Path) -> None:
    """While a user may not add events nothing of a run is written; once it may again, all of it is, once."""
    from tests.services.redis import RedisServer

    with RedisServer() as server:
        server.start_redis()
        client, seen = redis.from_url(server.url, decode_responses=True), Recorder()
        await client.execute_command("ACL", "SETUSER", "worker", "on", ">pw", "allkeys", "allchannels", "+@all")  # type: ignore[no-untyped-call] # redis-py leaves it without types
        config = RedisConfig(url=server.url.replace("//", "//worker:pw@"), timeout_s=1.0)
        sink = sink_of(config, tmp_path / "journal", seen)
        await sink.open()
        await sink.deliver(outcomes("P"))
        await until(lambda: bool(seen.alarm_states))
        await client.execute_command("ACL", "SETUSER", "worker", "-xadd")  # type: ignore[no-untyped-call] # as above
        await sink.deliver(outcomes("RR", first=1))
        await until(lambda: any("XADD" in error for _, error in seen.retries))
        assert await client.hget("patchline:alarm:cam-1", "window") == "P"
        await client.execute_command("ACL", "SETUSER", "worker", "+xadd")  # type: ignore[no-untyped-call] # as above
        await until(lambda: len(seen.alarm_events) == 1, seconds=5)
        assert await client.hget("patchline:alarm:cam-1", "window") == "PRR"
        await sink.close()
        await client.aclose()


async def test_cameras_that_others_name_are_bounded(config: RedisConfig, tmp_path: Path) -> None:
    """Of 300 names 20 have a state, and so has the listed one; results of the others are counted."""
    limits = AlarmLimits(max_cameras=20, always=frozenset({"gate"}))
    seen = Recorder()
    logs = AlarmJournal(JournalConfig(path=tmp_path / "journal", size=10_000), observer=seen)
    sink = AlarmSink(config, AlarmConfig(k=1, n=1, m=1), logs, limits=limits, observer=seen)
    await sink.open()
    for number in range(300):
        await sink.deliver(outcomes("R", camera=f"junk-{number}"))
    await until(lambda: seen.alarm_gaps.get(AlarmGap.TOO_MANY_CAMERAS) == 280)
    await sink.deliver(outcomes("RP", camera="gate") + outcomes("P", camera="junk-0", first=1))
    await until(lambda: len(seen.alarm_events) == 23)
    client = redis.from_url(config.url)
    assert len(await client.keys(f"{config.prefix}alarm:*")) == 21
    assert await client.scard(f"{config.prefix}alarm-cameras") == 21
    assert len(seen.alarm_states) == 21
    assert {event.camera for event in seen.alarm_events} == set(seen.alarm_states)
    store = AlarmStore(config, limits)
    assert await store.change("another", lambda alarm: (alarm, ())) == ()
    await sink.close()
    await store.close()
    await client.aclose()


async def test_a_camera_that_was_known_before_the_bound_keeps_its_alarm(config: RedisConfig) -> None:
    """A bound that is set lower later removes nothing."""
    before = AlarmStore(config)
    for number in range(5):
        await before.write([StoredAlarm(Alarm(camera=f"cam-{number}"), 1)], [])
    store = AlarmStore(config, AlarmLimits(max_cameras=2))
    answer = await store.write([StoredAlarm(Alarm(camera=f"cam-{n}"), 2 if n < 5 else 1) for n in range(7)], [])
    assert (answer.written, answer.refused) == (Written.WRITTEN, frozenset({"cam-5", "cam-6"}))
    assert len(await store.all()) == 5
    await before.close()
    await store.close()


async def test_everything_of_a_normal_life_tells_nothing_foreign(config: RedisConfig, tmp_path: Path) -> None:
    """What this project writes is its own."""
    seen = Recorder()
    sink = sink_of(config, tmp_path / "journal", seen)
    await sink.open()
    await sink.deliver(outcomes("RRPPPRR") + outcomes("RR", camera="Kamera Süd \N{SNOWMAN} 'x\" \x07"))
    store = AlarmStore(config, observer=seen)
    await until(lambda: len(seen.alarm_events) == 4)
    for camera in await store.cameras():
        await store.request_acknowledgement(camera, f"Ada {datetime.now(UTC)}")
    await until(lambda: len(seen.alarm_events) == 6)
    await sink.deliver(outcomes("PPP", first=7))
    await until(lambda: len(seen.alarm_events) == 7)
    assert ALARMS.m == 3
    assert seen.passed_over == []
    await sink.close()
    await store.close()
