"""Produces records as they are, broken ones too, and knows where each went."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeAlias

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.checks import MIB
from tests.chaos.mutants import Headers
from tests.stream.kafka_help import FRAME_BYTES

Place: TypeAlias = tuple[int, int]
"""Partition and offset."""
_AT_ONCE = 500


class Sender:
    """A producer; `settle` waits until everything has arrived."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._waiting: list[asyncio.Future[RecordMetadata]] = []

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, *, partition: int
    ) -> None:
        """Send one record."""
        self._waiting.append(await self._producer.send(topic, value, key=key, headers=headers, partition=partition))

    async def settle(self) -> list[Place]:
        """Wait until what was sent since the last time has arrived: where, in the order of sending."""
        found = [(record.partition, record.offset) for record in await asyncio.gather(*self._waiting)]
        self._waiting = []
        return found

    async def frames(self, records: Sequence[tuple[bytes | None, Headers]], partitions: int) -> list[Place]:
        """Frames, to the partitions in turn, each with its partition's camera as key."""
        places: list[Place] = []
        for number, (value, headers) in enumerate(records):
            partition = number % partitions
            key = f"cam-{partition}".encode()
            await self.send(self._config.frames_topic, key, value, headers, partition=partition)
            if len(self._waiting) >= _AT_ONCE:
                places += await self.settle()
        return places + await self.settle()

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._config.bootstrap_servers, max_request_size=FRAME_BYTES + 2 * MIB
        )
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()
