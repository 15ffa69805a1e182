"""Reading what the service wrote: results and dead letters, as any consumer of committed records would."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its headers as text, and its value."""

    headers: dict[str, str]
    value: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The value as a JSON object."""
        found: dict[str, Any] = json.loads(self.value)
        return found


async def create(bootstrap: str, *names: str, partitions: int) -> None:
    """Make the topics, for frames of 32 MiB."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        config = {"max.message.bytes": str(34 * 2**20)}
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config) for name in names])
    finally:
        await admin.close()


async def read(bootstrap: str, topic: str, count: int, *, timeout_s: float = 300, settle_s: float = 2) -> list[Record]:
    """The first `count` committed records of a topic, and any that follow within `settle_s`: too many is seen too."""
    records: list[Record] = []
    reader = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=34 * 2**20,
    )
    async with reader:
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            left_s = deadline - asyncio.get_running_loop().time()
            got = await reader.getmany(timeout_ms=int(1000 * settle_s))
            records += [_record(r) for several in got.values() for r in several]
            if len(records) < count and left_s <= 0:
                raise TimeoutError(f"{topic}: {len(records)} of {count} records within {timeout_s:g} s")
            if len(records) >= count and not got:
                return records


async def committed(bootstrap: str, group: str, topic: str) -> int:
    """How many records of a topic the group has settled, all partitions together."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        offsets: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return sum(max(0, place.offset) for partition, place in offsets.items() if partition.topic == topic)


def _record(message: Any) -> Record:
    return Record({name: value.decode() for name, value in message.headers}, message.value or b"")
