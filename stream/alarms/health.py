"""The health alarm of each camera in Redis, beside the alarms of parts: raised by its state, and cleared by itself.

Nobody acknowledges it: a lens that was wiped needs no more. It shares neither keys nor states with the alarms of
parts, and it calls what users of earlier releases have the rights to.
"""

from typing import Final

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.keys import AlarmKeys
from patchline.stream.alarms.redis_client import RedisClient
from patchline.stream.alarms.scripts import HEALTH
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.camera_event import CameraEvent
from patchline.stream.model.errors import Foreign
from patchline.stream.model.observer import Observer
from patchline.stream.support.outbox import Outbox
from patchline.stream.wire.cameras import encode_camera_event

_LONGEST_NAME: Final = 200


class HealthAlarms:
    """A `SideTask`: what is `put` becomes the camera's health in Redis, and an event where its alarm is concerned.

    Args:
        config: where Redis is.
        observer: told of retries, and of what is not ours.
    """

    def __init__(self, config: RedisConfig, observer: Observer | None = None) -> None:
        self._config, self._observer = config, observer or Observer()
        self._outbox: Outbox[CameraEvent] = Outbox()
        self._keys = AlarmKeys(config.prefix)

    def put(self, event: CameraEvent) -> None:
        """Take a change; it returns at once."""
        self._outbox.put(event)

    async def run(self, thread: EngineThread) -> None:  # noqa: ARG002 - see `SideTask`
        """Write until cancelled."""
        client = RedisClient(self._config)
        script = client.redis.register_script(HEALTH)

        async def write(event: CameraEvent) -> None:
            keys = [self._keys.health, self._keys.health_events]
            raised = "1" if event.alarm else "0"
            arguments = [event.camera, encode_camera_event(event).decode(), raised, str(self._config.events_kept)]
            for name in (await client.ask(lambda: script(keys=keys, args=arguments)))[1::2]:
                removed = f"the Redis key {str(name)[:_LONGEST_NAME]} was of another type: removed"
                self._observer.foreign(Foreign.ALARM_EVENT, removed)

        try:
            await self._outbox.run(f"Redis health alarms ({client.where})", write, self._observer)
        finally:
            await client.close()
