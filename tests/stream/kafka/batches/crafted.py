"""Record batches as producers write them, as no producer would, and as a consumer reads them."""

import asyncio
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import (
    LeaderNotAvailableError,
    NotLeaderForPartitionError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

HEADER_BYTES = 61
CRC_AT, ATTRIBUTES_AT, LAST_DELTA_AT, COUNT_AT = 17, 21, 23, 57
_NOT_YET_THERE = [
    error.errno for error in (LeaderNotAvailableError, NotLeaderForPartitionError, UnknownTopicOrPartitionError)
]
PARTITION = TopicPartition("frames", 0)
WRITTEN_MS = round(time.time() * 1000)
"""The time of records: brokers delete those of long ago, at some moment of a test."""
RawHeaders: TypeAlias = Sequence[tuple[str, bytes | None]]


def good(
    base: int,
    *values: bytes,
    codec: int = 0,
    headers: RawHeaders = (("ce_id", b"a"),),
    producer: int = -1,
    time_ms: int = WRITTEN_MS,
) -> bytes:
    """A batch as the library's own producer writes it; with a producer's id it is part of a transaction."""
    of_transaction = int(producer >= 0)
    builder = DefaultRecordBatchBuilder(2, codec, of_transaction, producer, 0, 0, 2**26)
    for number, value in enumerate(values):
        assert builder.append(number, time_ms + number, b"cam", value, list(headers)) is not None
    return at_base(bytes(builder.build()), base)


def legacy(base: int, *values: bytes, magic: int = 1, codec: int = 0) -> bytes:
    """Messages of the formats 0 and 1: each a batch, or all in one where they are compressed."""
    builder = LegacyRecordBatchBuilder(magic, codec, 2**20)
    for number, value in enumerate(values):
        assert builder.append(number, 1000, b"cam", value) is not None
    messages = bytes(builder.build())
    if codec:
        return at_base(messages, base + len(values) - 1)
    placed, at = b"", 0
    for number in range(len(values)):
        end = at + 12 + struct.unpack_from(">i", messages, at + 8)[0]
        placed += at_base(messages[at:end], base + number)
        at = end
    return placed


def control(base: int, producer: int, *, commit: bool) -> bytes:
    """The end of a transaction, as the brokers write it."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 2**20)
    builder.append(0, 1000, struct.pack(">hh", 0, int(commit)), b"\0\0\0\0\0\0", [])
    return at_base(with_bytes(bytes(builder.build()), ATTRIBUTES_AT, struct.pack(">h", 0x30)), base)


def at_base(batch: bytes, base: int) -> bytes:
    """The batch at another offset."""
    return struct.pack(">q", base) + batch[8:]


def with_bytes(batch: bytes, at: int, found: bytes, *, seal: bool = True) -> bytes:
    """The batch with other bytes at a position; `seal`: with a CRC that fits them."""
    changed = batch[:at] + found + batch[at + len(found) :]
    return sealed(changed) if seal else changed


def sealed(batch: bytes) -> bytes:
    """The batch with the CRC that it should have."""
    return batch[:CRC_AT] + struct.pack(">I", calc_crc32c(batch[ATTRIBUTES_AT:])) + batch[ATTRIBUTES_AT:]


def odd_name(batch: bytes, name: bytes = b"ce_id", odd: bytes = b"caf\xe9s") -> bytes:
    """The batch with the first header name that is `name` changed to one that is not UTF-8."""
    return with_bytes(batch, batch.index(name), odd)


@dataclass
class Read:
    """What the client library makes of an answer."""

    records: list[Any] = field(default_factory=list)
    position: int = 0


def read(answer: bytes, position: int, aborted: Sequence[tuple[int, int]] = (), *, committed: bool = True) -> Read:
    """Read an answer as a consumer does that does not check CRCs itself."""
    level = READ_COMMITTED if committed else READ_UNCOMMITTED
    records = PartitionRecords(PARTITION, MemoryRecords(answer), list(aborted), position, None, None, False, level)
    found = list(records)
    return Read(found, records.next_fetch_offset)


class RawProducer:
    """Sends batches as they are.

    Args:
        bootstrap: HOST:PORT of the one broker.
        topic: where to.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap, self._topic = bootstrap, topic

    async def send(self, partition: int, *batches: bytes) -> None:
        """Send them one after the other; a batch that the broker refuses raises a KafkaError."""
        client: Any = AIOKafkaClient(bootstrap_servers=self._bootstrap, client_id="raw")
        await client.bootstrap()
        try:
            await client.set_topics([self._topic])
            for batch in batches:
                while (code := await self._sent(client, partition, at_base(batch, 0))) in _NOT_YET_THERE:
                    await client.force_metadata_update()
                    await asyncio.sleep(0.02)
                if code:
                    raise for_code(code)(f"the broker refuses the batch: {code}")
        finally:
            await client.close()

    async def _sent(self, client: Any, partition: int, batch: bytes) -> int:
        node = client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
        if node in (None, -1):
            return int(LeaderNotAvailableError.errno)
        answer = await client.send(node, ProduceRequest(None, -1, 10_000, [(self._topic, [(partition, batch)])]))
        ((_, ((_, code, *_),)),) = answer.topics
        return int(code)
