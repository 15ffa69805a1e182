"""Results as a consumer of committed records sees them, as they come: which, how often, and when."""

import asyncio
from collections import Counter
from time import monotonic
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.errors import RecordError
from patchline.stream.wire.results import read_frame_position, read_result
from tests.chaos.sender import Place


class Tally:
    """Reads the results topic, committed records only, until it is closed; broker restarts do not disturb it.

    It has no group: its position is its own, so it counts every record once.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._reading: asyncio.Task[None] | None = None
        self.seen: Counter[str] = Counter()
        """Results by frame id."""
        self.not_inspected: Counter[str] = Counter()
        self.visible_s: dict[str, list[float]] = {}
        """By camera: the monotonic clock when each of its results came."""
        self.first_s: dict[str, float] = {}
        """By frame id: the monotonic clock when its first result came."""
        self.places: Counter[Place] = Counter()
        """Results by partition and offset of their frame."""

    def results_of(self, camera: str) -> int:
        """How many results of a camera came so far."""
        return len(self.visible_s.get(camera, ()))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                fetched = await consumer.getmany(timeout_ms=200)
            except KafkaError:
                await asyncio.sleep(0.2)
                continue
            now = monotonic()
            for record in (record for records in fetched.values() for record in records):
                try:
                    result = read_result(record.headers, record.value)
                except RecordError:  # somebody else wrote it
                    continue
                if (position := read_frame_position(record.headers)) is not None:
                    self.places[position.partition, position.offset] += 1
                self.first_s.setdefault(result.frame_id, now)
                self.seen[result.frame_id] += 1
                self.visible_s.setdefault(result.camera, []).append(now)
                if result.reason is not None:
                    self.not_inspected[result.frame_id] += 1

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            self._config.results_topic,
            bootstrap_servers=self._config.bootstrap_servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await self._consumer.start()
        self._reading = asyncio.create_task(self._read(self._consumer))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._consumer.stop()
