"""The ways in which a log and the remembered offset part ways, each done to a line that runs or is stopped."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import TopicPartition

from tests.chaos.parted import PARTITIONS, Parted, hours_ago_ms
from tests.chaos.scrape import status

Parting: TypeAlias = Callable[[Parted], Awaitable[None]]
_UNREAD = 20
_GONE = 12
_AWAY_S = 6


async def made_anew(line: Parted) -> None:
    """The topic is deleted and made again, and holds less than it did."""
    await line.pause()
    await line.delete()
    await line.make()
    await line.resume()
    await line.send(6)


async def made_anew_longer(line: Parted) -> None:
    """The same, and it already holds more than the remembered offset when that is compared."""
    async with line.unread():
        await line.delete()
        await line.make()
        await line.send(3 * _UNREAD)


async def records_deleted(line: Parted) -> None:
    """Records are deleted that nobody has read."""
    async with line.unread():
        ids = await line.send(_UNREAD)
        before = {
            TopicPartition(line.config.frames_topic, partition): RecordsToDelete(before_offset=end)
            for partition, end in (await _ends(line, less=(_UNREAD - _GONE) // PARTITIONS)).items()
        }
        await line.admin.delete_records(before)
        line.lose(ids[:_GONE])
    line.exact = True


async def expired(line: Parted) -> None:
    """Retention deletes records that nobody has read: those of an older segment."""
    await _configure(line, {"segment.ms": "60000", "retention.ms": "-1"})
    async with line.unread():
        old = await line.send(_GONE, timestamp_ms=hours_ago_ms(3))
        await line.send(_UNREAD - _GONE)  # later by more than a segment's time: in the next
        ends = await _ends(line, less=(_UNREAD - _GONE) // PARTITIONS)
        await _configure(line, {"segment.ms": "60000", "retention.ms": str(3_600_000)})
        async with asyncio.timeout(30):
            while any([await line.first_offset(partition) < end for partition, end in ends.items()]):
                await asyncio.sleep(0.1)
        line.lose(old)
    line.exact = True


async def beyond_the_end(line: Parted) -> None:
    """The remembered offset lies behind the end of the log: that was restored, or lost its last records."""
    line.again |= line.kept
    await line.pause()
    if line.running:
        await _shortened(line)
    else:
        await line.commit(1000)
    await line.resume()
    await line.send(6)


async def partitions_added(line: Parted) -> None:
    """Frames come to the new partitions at once, long before clients ask for partitions again by themselves."""
    await line.pause()
    await line.admin.create_partitions({line.config.frames_topic: NewPartitions(PARTITIONS + 2)})
    await line.send(8, partitions=range(PARTITIONS, PARTITIONS + 2))
    await line.resume()
    await line.send(4, partitions=range(PARTITIONS + 2))


async def offsets_deleted(line: Parted) -> None:
    """The group and its offsets are deleted; brokers refuse while it has members.

    A group that has read the partitions, as its transactions tell, reads them from their first records, `latest` too.
    """
    await line.pause()
    request = DeleteGroupsRequest([line.config.group])
    answer = await line.admin._send_request_to_node(1, request)
    ((_, code),) = ((group[0], group[1]) for group in answer.results)
    if (code == 0) == line.running:
        line.said.append(f"the broker answered {code} to deleting the group")
    if not line.running:
        line.again |= line.kept
        await line.send(6)
    await line.resume()
    await asyncio.sleep(1)
    await line.send(6)


async def made_later(line: Parted) -> None:
    """The topic is deleted, and made only after a while; meanwhile the worker is not ready, and says why."""
    await line.pause()
    await line.delete()
    await line.resume(owning=False)
    assert line.worker is not None
    worker = line.worker
    async with asyncio.timeout(60):
        while not worker.logged("listening"):
            await asyncio.sleep(0.1)
    await asyncio.sleep(_AWAY_S)
    code, text = await status(worker, "/readyz")
    if code != 503 or line.config.frames_topic not in text:
        line.said.append(f"/readyz without the topic: {code} {text.strip()!r}")
    await line.make()
    if line.start == "latest" and not line.running:
        await asyncio.sleep(1)
    await line.send(6)


PARTINGS: Mapping[str, Parting] = {
    "made anew": made_anew,
    "made anew, longer": made_anew_longer,
    "records deleted": records_deleted,
    "expired": expired,
    "offset beyond the end": beyond_the_end,
    "partitions added": partitions_added,
    "offsets deleted": offsets_deleted,
    "deleted, made later": made_later,
}
BREAKS: Mapping[str, tuple[str, ...]] = {
    "made anew": ("recreated",),
    "made anew, longer": ("recreated",),
    "records deleted": ("expired", "truncated"),
    "expired": ("expired",),
    "offset beyond the end": ("truncated", "recreated"),
    "partitions added": ("partition_added",),
    "offsets deleted": (),
    "deleted, made later": ("recreated",),
}
"""The causes of which one at least must have been counted."""
ALONE = ("offset beyond the end",)
"""Those that restart the broker, while nothing else runs on it."""


async def _ends(line: Parted, *, less: int) -> dict[int, int]:
    """Of each partition, the offset so many records before its end."""
    partitions = [TopicPartition(line.config.frames_topic, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=line.config.bootstrap_servers) as consumer:
        ends = await consumer.end_offsets(partitions)
    return {where.partition: int(end) - less for where, end in ends.items()}


async def _configure(line: Parted, configs: Mapping[str, str]) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, line.config.frames_topic, configs=dict(configs))
    await line.admin.alter_configs([resource])


async def _shortened(line: Parted) -> None:
    """The broker comes back with fewer records than it had: as after an unclean election of a leader."""
    await asyncio.to_thread(line.broker.stop)
    data = line.broker.directory / "data"
    for partition in range(PARTITIONS):
        folder = data / f"{line.config.frames_topic}-{partition}"
        for log in folder.glob("*.log"):
            _cut(log, keep=2)
        for derived in (*folder.glob("*index"), *folder.glob("*.snapshot")):
            derived.unlink()
    for note in (".kafka_cleanshutdown", "recovery-point-offset-checkpoint"):
        (data / note).unlink(missing_ok=True)
    await asyncio.to_thread(line.broker.start_broker)
    async with asyncio.timeout(60):
        while not await line.topics_known():
            await asyncio.sleep(0.2)


def _cut(log: Path, *, keep: int) -> None:
    data, position = log.read_bytes(), 0
    for _ in range(keep):
        if position + 12 > len(data):
            return
        position += 12 + struct.unpack_from(">i", data, position + 8)[0]
    with log.open("r+b") as file:
        file.truncate(position)
