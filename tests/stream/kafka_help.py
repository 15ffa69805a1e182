"""Producing frames and reading what comes of them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.kafka.topics import Partitions, ensure_topics
from patchline.stream.model.checks import MIB
from patchline.stream.model.frame import LaneKey
from patchline.stream.model.limits import Limits
from patchline.stream.model.result import Result
from patchline.stream.pipeline import Pipeline
from patchline.stream.pipeline.isolated_trial import EngineOf
from patchline.stream.support.deadline import Deadline
from patchline.stream.wire.frames import frame_headers
from patchline.stream.wire.results import read_result
from tests.stream.scripted import Recorder, ScriptedEngine

FRAME_BYTES = 32 * MIB
SESSION = {"session_timeout_s": 2.0, "revoke_timeout_s": 1.0}
"""Of tests that wait for a worker to be given up."""


async def new_topics(kafka: str, unique_name: Callable[[str], str], **more: Any) -> KafkaConfig:
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


async def results_of(config: KafkaConfig) -> list[Result]:
    """The committed results, in the order of their partitions."""
    return [read_result(r.headers, r.value) for r in await read_topic(config, config.results_topic)]


async def committed(config: KafkaConfig) -> dict[int, int]:
    """The group's committed offset of each partition of frames; 0 where it has none."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=config.bootstrap_servers, group_id=config.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(config.frames_topic, number) for number in range(3)]
        return {p.partition: await consumer.committed(p) or 0 for p in partitions}
    finally:
        await consumer.stop()


async def all_done(config: KafkaConfig, frames: int, *, seconds: float = 90) -> None:
    """Wait until the group has committed so many frames."""
    async with asyncio.timeout(seconds):
        while sum((await committed(config)).values()) < frames:
            await asyncio.sleep(0.3)


def worker(
    config: KafkaConfig,
    seen: Recorder,
    engine: ScriptedEngine | None = None,
    *,
    trial_engine: EngineOf | None = None,
    **limits: Any,
) -> Pipeline:
    """The stream as `config.delivery` says, in this process, with a scripted engine."""
    ledger = ExactlyOnceSink(config, observer=seen) if config.delivery == "exactly_once" else None
    return Pipeline(
        sources=[KafkaSource(config, observer=seen, ledger=ledger)],
        engine=engine or ScriptedEngine(),
        ledger=ledger,
        sinks=[] if ledger else [AtLeastOnceSink(config)],
        limits=Limits(**{"batch_size": 4, **limits}),
        observer=seen,
        trial_engine=trial_engine,
    )


@asynccontextmanager
async def running(pipeline: Pipeline, *, drain_s: float = 20) -> AsyncIterator[None]:
    """Run it meanwhile; at the end it is drained, and must end in order. Where it fails, so does the waiting."""
    try:
        async with asyncio.TaskGroup() as group:
            run = group.create_task(pipeline.run())
            try:
                yield
                await pipeline.drain(Deadline(drain_s))
                await run
            finally:
                run.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def nothing_in_flight(lanes: Collection[LaneKey], timeout_s: float) -> list[LaneKey]:
    """The `Release` of a source that is read without a pipeline: no frame of any lane is in flight."""
    return []
