"""Results and dead letters to Kafka, each at least once."""

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.connection import (
    close,
    connect,
    needs_new_producer,
    new_producer,
    sink_error,
    sink_errors,
)
from patchline.stream.kafka.records import records_of
from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.model.outcome import Outcome
from patchline.stream.wire.cloudevents import Record


class AtLeastOnceSink:
    """Produces each outcome's result, and the bytes of each frame that was not inspected.

    Records are keyed by camera, so a camera's results keep their order. The producer is idempotent and waits for all
    replicas in sync. When a delivery is tried again, results that had arrived before are there twice, and
    have the same `ce_id`.

    Args:
        config: brokers and topics.
        max_frame_bytes: larger frames are dead-lettered by reference.
    """

    def __init__(self, config: KafkaConfig, *, max_frame_bytes: int = 32 * MIB) -> None:
        self._config = config
        self._max_frame_bytes = max_frame_bytes
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        """Names the brokers."""
        return f"Kafka results ({self._config.bootstrap_servers})"

    async def open(self) -> None:
        """Connect.

        Raises:
            SinkUnavailableError: no broker answers.
            SinkError: the brokers refuse.
        """
        async with self._opening:
            if self._producer is None:
                with sink_errors(self._config):
                    self._producer = await connect(new_producer(self._config, self._max_frame_bytes), self._config)

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Produce, and wait until every record is acknowledged. Raises as `Sink.deliver` says."""
        records = records_of(outcomes, self._config, self._max_frame_bytes)
        if refused := await self._produce(records):
            smaller = records_of(outcomes, self._config, 0)
            if await self._produce([smaller[place] for place in refused]):
                raise SinkError(f"{self.name}: a record is larger than its topic takes, without a frame in it")

    async def _produce(self, records: Sequence[tuple[str, Record]]) -> list[int]:
        """Produce records. Returns the places of those that their topics refuse for their size."""
        await self.open()
        producer = self._producer
        if producer is None:
            raise SinkUnavailableError(f"{self.name} is closed")
        try:
            sent = [await self._send(producer, topic, record) for topic, record in records]
            answers = await asyncio.gather(*sent, return_exceptions=True)
            refused = [place for place, answer in enumerate(answers) if isinstance(answer, MessageSizeTooLargeError)]
            for answer in answers:
                if isinstance(answer, BaseException) and not isinstance(answer, MessageSizeTooLargeError):
                    raise answer
        except KafkaError as error:
            if needs_new_producer(error):
                await self.close()
            raise sink_error(error, self._config) from error
        return refused

    @staticmethod
    async def _send(producer: AIOKafkaProducer, topic: str, record: Record) -> "asyncio.Future[object]":
        key, value, headers = record
        sent: asyncio.Future[object] = await producer.send(topic, value, key=key, headers=headers)
        return sent

    async def close(self) -> None:
        """Send what is left and disconnect."""
        producer, self._producer = self._producer, None
        await close(producer)
