"""Changes of cameras on a topic of their own."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from aiokafka import AIOKafkaConsumer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.events.camera_events import KafkaCameraEvents
from patchline.stream.kafka.topics import ensure_topics
from patchline.stream.wire.cameras import read_camera_record
from tests.stream.alarms.test_health import events_of


async def test_changes_are_published_in_their_order(kafka: str, unique_name: Callable[[str], str]) -> None:
    """The topic is made with the others where the service opens cameras."""
    names: dict[str, Any] = {
        f"{kind}_topic": unique_name(kind) for kind in ("frames", "results", "dead_letter", "cameras")
    }
    config = KafkaConfig(bootstrap_servers=kafka, group=unique_name("group"), **names)
    assert config.cameras_topic not in await ensure_topics(config, max_frame_bytes=2**20, replication=1)
    assert await ensure_topics(config, max_frame_bytes=2**20, replication=1, cameras=True) == [config.cameras_topic]
    told = events_of("ok", "dark", "ok")
    events = KafkaCameraEvents(config)
    for event in told:
        events.put(event)
    running = asyncio.create_task(events.run(cast("Any", None)))
    consumer = AIOKafkaConsumer(config.cameras_topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        records = [await anext(consumer) for _ in told]
    finally:
        await consumer.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert [read_camera_record(record.headers, record.value) for record in records] == told
    assert {record.key for record in records} == {b"a"}
