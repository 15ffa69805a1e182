"""Operators acknowledge alarms: by a call, or by a message that one worker serves."""

import uuid
from datetime import UTC, datetime

from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import Alarm, AlarmEvent, acknowledge
from patchline.stream.model.observer import Observer
from patchline.stream.support.retry import retry_until_done

_GROUP = "patchline"


async def acknowledge_alarm(store: AlarmStore, camera: str, operator: str) -> tuple[AlarmEvent, ...]:
    """Acknowledge a camera's alarm now; no events where there was nothing to acknowledge."""

    def changed(alarm: Alarm) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
        return acknowledge(alarm, operator, datetime.now(UTC))

    return await store.change(camera, changed)


async def serve_acknowledgements(store: AlarmStore, observer: Observer) -> None:
    """Serve messages, shared with all other workers; it never ends by itself. Raises SinkError where Redis refuses."""
    consumer = uuid.uuid4().hex

    async def serve() -> None:
        async for message_id, fields in store.acknowledgements(_GROUP, consumer):
            camera, operator = fields.get("camera"), fields.get("operator")
            if camera and operator:
                for event in await acknowledge_alarm(store, camera, operator):
                    observer.alarm(event)
            await store.done(_GROUP, message_id)

    await retry_until_done(f"Redis acknowledgements ({store.where})", serve, observer)
