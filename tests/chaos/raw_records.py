"""Record batches byte by byte, and a producer that sends them as they are: what other clients may write."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes | None]]
_HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size
"""Base offset, length, leader epoch, magic, CRC, attributes, last offset delta, first and largest time, producer id,
producer epoch, first sequence number, number of records."""
CRC_BEGINS_BEHIND = 21
"""The CRC covers what follows it."""


def varint(value: int) -> bytes:
    """A number as records have them: zigzag, seven bits a byte, the lowest first."""
    rest, out = (value << 1) ^ (value >> 63), bytearray()
    while rest > 0x7F:
        out.append(0x80 | rest & 0x7F)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _sized(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRecord:
    """A record; header names are any bytes."""

    key: bytes | None = b"odd"
    value: bytes | None
    headers: RawHeaders

    def encoded(self, offset_delta: int) -> bytes:
        """Its bytes in a batch."""
        body = b"\x00" + varint(0) + varint(offset_delta) + _sized(self.key) + _sized(self.value)
        body += varint(len(self.headers)) + b"".join(_sized(name) + _sized(value) for name, value in self.headers)
        return varint(len(body)) + body


def batch_of(records: Sequence[RawRecord], time_ms: int) -> bytes:
    """A batch that is whole, as far as a broker looks."""
    body = b"".join(record.encoded(number) for number, record in enumerate(records))
    last = len(records) - 1
    length = HEADER_BYTES - 12 + len(body)
    header = _HEADER.pack(0, length, -1, 2, 0, 0, last, time_ms, time_ms, -1, -1, -1, len(records))
    return sealed(header + body)


def sealed(batch: bytes) -> bytes:
    """The batch with the CRC that it should have."""
    crc: int = calc_crc32c(batch[CRC_BEGINS_BEHIND:])
    return batch[: CRC_BEGINS_BEHIND - 4] + struct.pack(">I", crc) + batch[CRC_BEGINS_BEHIND:]


class RawProducer:
    """Sends batches as they are.

    Args:
        bootstrap: HOST:PORT of the one broker.
        topic: where to.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._client: Any = AIOKafkaClient(bootstrap_servers=bootstrap, client_id="raw")
        self._topic = topic

    async def send(self, partition: int, batch: bytes) -> int:
        """The offset of its first record; a broker that refuses it raises a KafkaError."""
        node = self._client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
        request = ProduceRequest(None, -1, 10_000, [(self._topic, [(partition, batch)])])
        answer = await self._client.send(node, request)
        ((_, ((_, code, offset, *_),)),) = answer.topics
        if code:
            raise for_code(code)(f"the broker refuses the batch: {code}")
        return int(offset)

    async def __aenter__(self) -> Self:
        await self._client.bootstrap()
        await self._client.set_topics([self._topic])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()
