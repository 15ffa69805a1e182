"""Producing frames and reading what comes of them."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from stream.cloudevents import frame_headers
from stream.config import MIB, KafkaConfig
from stream.kafka_topics import Partitions, ensure_topics

FRAME_BYTES = 32 * MIB


async def new_topics(kafka: str, unique_name: Callable[[str], str], **more: object) -> KafkaConfig:
    """Topics of a test's own: three partitions of frames."""
    config = KafkaConfig(
        bootstrap_servers=kafka,
        group=unique_name("group"),
        frames_topic=unique_name("frames"),
        results_topic=unique_name("results"),
        dead_letter_topic=unique_name("dead"),
        lag_interval_s=0.2,
        **more,
    )
    await ensure_topics(config, max_frame_bytes=FRAME_BYTES, partitions=Partitions(frames=3, results=2), replication=1)
    return config


async def produce(
    config: KafkaConfig, frames: Iterable[tuple[str, str, bytes]], *, partition: bool = False, sha256: bool = True
) -> None:
    """Produce (frame id, camera, value); with `partition`, camera `cam-N` goes to partition N % 3."""
    producer = AIOKafkaProducer(bootstrap_servers=config.bootstrap_servers, max_request_size=FRAME_BYTES + 2 * MIB)
    await producer.start()
    try:
        waiting = []
        for frame_id, camera, value in frames:
            headers = frame_headers(
                frame_id=frame_id,
                camera=camera,
                time=datetime.now(UTC),
                recipe="plate",
                sha256=hashlib.sha256(value).hexdigest() if sha256 else None,
            )
            where = int(camera.rpartition("-")[2]) if partition else None
            waiting.append(
                await producer.send(config.frames_topic, value, key=camera.encode(), headers=headers, partition=where)
            )
        await asyncio.gather(*waiting)
    finally:
        await producer.stop()


async def read_topic(config: KafkaConfig, topic: str) -> list[ConsumerRecord]:
    """Everything that is in a topic now."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=config.bootstrap_servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=FRAME_BYTES + 2 * MIB,
    )
    await consumer.start()
    try:
        partitions = list(consumer.assignment())
        assert partitions
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records.extend(batch)
        return records
    finally:
        await consumer.stop()


async def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait for a condition, and fail when it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
