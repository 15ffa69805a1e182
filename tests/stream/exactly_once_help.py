"""Frames of which every one must have one result, and a look at what there is."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from patchline.engine.types import Verdict
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.wire.results import read_result
from tests.stream.kafka_help import produce, read_topic
from tests.stream.scripted import jpeg


async def send(config: KafkaConfig, label: str, count: int) -> list[str]:
    """Frames of three cameras, one a partition; every tenth is unreadable."""
    ids = [f"{label}{n}" for n in range(count)]
    frames = [(i, f"cam-{n % 3}", b"text" if n % 10 == 7 else jpeg(50)) for n, i in enumerate(ids)]
    await produce(config, frames, partition=True)
    return ids


async def check_once(config: KafkaConfig, ids: list[str]) -> None:
    """One result for each frame, one dead letter for each unreadable one, and order kept within a camera."""
    records = await read_topic(config, config.results_topic)
    results = [read_result(r.headers, r.value) for r in records]
    assert sorted(r.frame_id for r in results) == sorted(ids)
    bad = [r.frame_id for r in results if r.verdict is Verdict.NOT_INSPECTED]
    letters = [dict(r.headers)["ce_id"].decode() for r in await read_topic(config, config.dead_letter_topic)]
    assert sorted(letters) == sorted(bad)
    place = {frame_id: n for n, frame_id in enumerate(ids)}
    for camera in range(3):
        mine = [place[r.frame_id] for r in results if r.camera == f"cam-{camera}"]
        assert mine == sorted(mine)


async def uncommitted(config: KafkaConfig) -> list[tuple[bytes, bytes]]:
    """(frame id, value) of all results that were ever sent, aborted ones too."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=config.bootstrap_servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(config.results_topic, number) for number in range(2)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = []
        while any([await consumer.position(p) < end for p, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=300)).values():
                found += [(dict(r.headers)["ce_id"], r.value) for r in records]
        return found
    finally:
        await consumer.stop()
