"""Changes of cameras' states on a topic of their own, keyed by camera."""

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.kafka.config import RECORD_HEADROOM_BYTES, KafkaConfig
from patchline.stream.kafka.connection import close, connect, needs_new_producer, new_producer, source_error
from patchline.stream.model.camera_event import CameraEvent
from patchline.stream.model.observer import Observer
from patchline.stream.support.outbox import Outbox
from patchline.stream.wire.cameras import camera_record


class KafkaCameraEvents:
    """A `SideTask`: what is `put` is published, at least once, in its order.

    Args:
        config: brokers and topic.
        observer: told of retries.
    """

    def __init__(self, config: KafkaConfig, observer: Observer | None = None) -> None:
        self._config, self._observer = config, observer or Observer()
        self._outbox: Outbox[CameraEvent] = Outbox()
        self._producer: AIOKafkaProducer | None = None

    def put(self, event: CameraEvent) -> None:
        """Take a change; it returns at once."""
        self._outbox.put(event)

    async def run(self, thread: EngineThread) -> None:  # noqa: ARG002 - see `SideTask`
        """Publish until cancelled."""
        try:
            await self._outbox.run(self._config.cameras_topic, self._publish, self._observer)
        finally:
            producer, self._producer = self._producer, None
            await close(producer)

    async def _publish(self, event: CameraEvent) -> None:
        key, value, headers = camera_record(event)
        try:
            if self._producer is None:
                self._producer = await connect(new_producer(self._config, RECORD_HEADROOM_BYTES), self._config)
            await self._producer.send_and_wait(self._config.cameras_topic, value, key=key, headers=headers)
        except KafkaError as error:
            if needs_new_producer(error):
                producer, self._producer = self._producer, None
                await close(producer)
            raise source_error(error, self._config) from error
