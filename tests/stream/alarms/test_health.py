"""The health alarm in Redis, beside the alarms of parts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import redis.asyncio as redis

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.health import HealthAlarms
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.camera_event import CameraEvent, alarms_in
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.observer import Observer
from patchline.stream.wire.cameras import decode_camera_event
from tests.stream.scripted import Recorder
from tests.stream.waiting import until


@pytest.fixture
def redis_config(redis_url: str, unique_name: Callable[[str], str]) -> RedisConfig:
    """A real Redis, with names of this test's own."""
    return RedisConfig(url=redis_url, prefix=unique_name("p") + ":")


def events_of(*states: str, camera: str = "a") -> list[CameraEvent]:
    """The changes of a camera that goes through these states."""
    found, before, alarm = [], CameraState.CONNECTING, False
    for number, name in enumerate(states):
        state = CameraState(name)
        alarm = alarms_in(state, before=alarm)
        time = datetime(2026, 3, 2, 8, 0, tzinfo=UTC) + timedelta(seconds=number)
        found.append(CameraEvent(camera=camera, state=state, before=before, time=time, alarm=alarm, detail="it is so"))
        before = state
    return found


@asynccontextmanager
async def telling(config: RedisConfig, observer: Observer | None = None) -> AsyncIterator[HealthAlarms]:
    """Health alarms that are written."""
    alarms = HealthAlarms(config, observer)
    running = asyncio.create_task(alarms.run(cast("Any", None)))
    try:
        yield alarms
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def written(config: RedisConfig) -> tuple[dict[str, CameraEvent], list[CameraEvent]]:
    """The health of every camera, and the events."""
    async with redis.from_url(config.url, decode_responses=True) as client:
        health: Any = await client.hgetall(f"{config.prefix}alarm-health")
        events: Any = await client.xrange(f"{config.prefix}alarm-health-events")
    return (
        {camera: decode_camera_event(text.encode()) for camera, text in health.items()},
        [decode_camera_event(fields["event"].encode()) for _, fields in events],
    )


async def test_an_alarm_is_raised_by_a_sick_state_and_clears_by_itself(redis_config: RedisConfig) -> None:
    """Redis has each camera's health; events are there only where an alarm is raised, changes or is cleared."""
    async with telling(redis_config) as alarms:
        for event in events_of("ok", "still", "ok", "dark", "unreachable", "connecting", "ok", "still"):
            alarms.put(event)
        alarms.put(events_of("frozen", camera="b")[0])

        async def done() -> bool:
            return "b" in (await written(redis_config))[0]

        while not await done():
            await asyncio.sleep(0.02)
    health, events = await written(redis_config)
    assert {camera: (one.state.value, one.alarm) for camera, one in health.items()} == {
        "a": ("still", False),
        "b": ("frozen", True),
    }
    assert [(one.camera, one.state.value, one.alarm) for one in events] == [
        ("a", "dark", True),
        ("a", "unreachable", True),
        ("a", "connecting", True),
        ("a", "ok", False),
        ("b", "frozen", True),
    ]
    store = AlarmStore(redis_config)
    assert await store.all() == []  # no alarm of parts
    await store.close()


async def test_what_lies_in_its_place_is_removed_and_told(redis_config: RedisConfig) -> None:
    """Others write to the same Redis."""
    async with redis.from_url(redis_config.url) as client:
        await client.set(f"{redis_config.prefix}alarm-health", "x" * 1_000)
        await client.set(f"{redis_config.prefix}alarm-health-events", "x")
    seen = Recorder()
    async with telling(redis_config, seen) as alarms:
        alarms.put(events_of("dark")[0])
        await until(lambda: len(seen.passed_over) == 2)
    health, events = await written(redis_config)
    assert [one.state.value for one in (health["a"], *events)] == ["dark", "dark"]
