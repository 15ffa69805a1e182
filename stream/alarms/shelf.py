"""Operators shelve alarms for a while, take them back, and forget cameras; a shelved alarm comes back by itself."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from patchline.stream.alarms.config import AlarmLimits
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import Alarm, AlarmEvent
from patchline.stream.model.errors import ConfigError
from patchline.stream.model.observer import Observer
from patchline.stream.model.shelving import forgotten, shelf_time_over, shelve, unshelve
from patchline.stream.support.retry import retry_until_done

_LOOK_EVERY_S: Final = 1.0


async def shelve_alarm(
    store: AlarmStore, limits: AlarmLimits, camera: str, duration: timedelta, operator: str, reason: str = ""
) -> tuple[AlarmEvent, ...]:
    """Shelve a camera's alarm from now on.

    Args:
        store: where alarms live.
        limits: how long an alarm may be shelved at once.
        camera: the camera.
        duration: for how long.
        operator: who says so.
        reason: why.

    Returns:
        The event; none where there is no such camera.

    Raises:
        ConfigError: the duration is nothing, or longer than it may be.
    """
    longest = timedelta(seconds=limits.longest_shelf_s)
    if not timedelta(0) < duration <= longest:
        raise ConfigError(
            f"an alarm cannot be shelved for {duration}, expected more than nothing and at most {longest}"
        )
    if camera not in await store.cameras():
        return ()

    def changed(alarm: Alarm) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
        now = datetime.now(UTC)
        return shelve(alarm, now + duration, operator, reason, now)

    return await store.change(camera, changed)


async def unshelve_alarm(store: AlarmStore, camera: str, operator: str) -> tuple[AlarmEvent, ...]:
    """Take a camera's alarm from the shelf now; no events where it was not there."""
    return await store.change(camera, lambda alarm: unshelve(alarm, operator, datetime.now(UTC)))


async def forget_camera(store: AlarmStore, camera: str, operator: str) -> AlarmEvent | None:
    """Remove a camera's keys and its state, and return what was recorded of that; None where there was no such camera.

    A camera that sends frames afterwards begins anew.
    """
    event = forgotten((await store.load(camera)).alarm, operator, datetime.now(UTC))
    return event if await store.forget(camera, event) else None


async def serve_shelf(store: AlarmStore, limits: AlarmLimits, observer: Observer) -> None:
    """Bring shelved alarms back when their time is over, and tell which are shelved; it never ends by itself.

    Every worker does it, and of those that try to bring one back one does.
    """
    longest = timedelta(seconds=limits.longest_shelf_s)
    told: set[str] = set()

    async def look() -> None:
        shelved = set()
        for stored in await store.shelved():
            camera, now = stored.alarm.camera, datetime.now(UTC)
            if not shelf_time_over(stored.alarm, now, longest):
                shelved.add(camera)
                continue

            def over(alarm: Alarm, now: datetime = now) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
                return unshelve(alarm, None, now) if shelf_time_over(alarm, now, longest) else (alarm, ())

            for event in await store.change(camera, over):
                observer.alarm(event)
        for camera in told ^ shelved:
            observer.alarm_shelved(camera, camera in shelved)
        told.clear()
        told.update(shelved)

    while True:
        await retry_until_done(f"Redis shelved alarms ({store.where})", look, observer, longest_s=1.0)
        await asyncio.sleep(_LOOK_EVERY_S)
