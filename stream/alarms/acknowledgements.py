"""Operators acknowledge alarms: by a call, or by a message that one worker serves.

Anyone may send a message. One that is no acknowledgement is told, removed, and ends nothing.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import MAX_CAMERA_CHARACTERS, Alarm, AlarmEvent, acknowledge
from patchline.stream.model.errors import Foreign
from patchline.stream.model.feedback import check_name
from patchline.stream.model.observer import Observer
from patchline.stream.support.retry import retry_until_done
from patchline.stream.wire.alarms import brief

_GROUP: Final = "patchline"
_LONGEST_PAUSE_S: Final = 0.5
"""A Redis that is away is asked so often, so that what waits is served soon after its return."""


async def acknowledge_alarm(store: AlarmStore, camera: str, operator: str) -> tuple[AlarmEvent, ...]:
    """Acknowledge a camera's alarm now; no events where there was nothing to acknowledge."""

    def changed(alarm: Alarm) -> tuple[Alarm, tuple[AlarmEvent, ...]]:
        return acknowledge(alarm, operator, datetime.now(UTC))

    return await store.change(camera, changed)


async def serve_acknowledgements(store: AlarmStore, observer: Observer) -> None:
    """Serve messages, shared with all other workers; it never ends by itself."""
    consumer = uuid.uuid4().hex

    async def serve() -> None:
        async for message_id, fields in store.acknowledgements(_GROUP, consumer):
            if (why := _why_not(fields)) is not None:
                observer.foreign(Foreign.ACKNOWLEDGEMENT, f"message {brief(message_id)}: {why}")
            else:
                for event in await acknowledge_alarm(store, fields["camera"], fields["operator"]):
                    observer.alarm(event)
            await store.done(_GROUP, message_id)

    await retry_until_done(f"Redis acknowledgements ({store.where})", serve, observer, longest_s=_LONGEST_PAUSE_S)


def _why_not(fields: Mapping[str, str]) -> str | None:
    """What is wrong with a message; None where it is an acknowledgement."""
    for name in ("camera", "operator"):
        if name not in fields:
            return f"{name} is missing, expected the fields camera and operator"
        try:
            check_name(name, fields[name])
        except ValueError as error:
            return str(error)
    if len(fields["camera"]) > MAX_CAMERA_CHARACTERS:
        return f"camera is {brief(fields['camera'])}, expected at most {MAX_CAMERA_CHARACTERS} characters"
    return None
