"""The stream between two topics of a real broker, in this process, timed from the first frame to the last result."""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer

from patchline.stream.inspection.engine import Engine
from patchline.stream.kafka.at_least_once import AtLeastOnceSink
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.exactly_once import ExactlyOnceSink
from patchline.stream.kafka.source import KafkaSource
from patchline.stream.kafka.topics import Partitions, ensure_topics
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.pipeline import Pipeline
from patchline.stream.wire.frames import frame_headers

PARTITIONS = 2
FRAME_BYTES = 4 * 2**20


class KafkaLine:
    """A pipeline that runs on a thread of its own until the context is left.

    Args:
        bootstrap: the broker.
        engine: what judges.
        recipe: of all frames.
        kafka: further fields of `KafkaConfig`.
        limits: of the stream.
        waiting: frames that are in the topic before the pipeline starts.
        on_first: called when the first frame is read.
    """

    def __init__(
        self,
        bootstrap: str,
        engine: Engine,
        recipe: str,
        *,
        limits: Limits,
        waiting: Sequence[bytes],
        on_first: Callable[[], None] = lambda: None,
        **kafka: Any,
    ) -> None:
        name = uuid.uuid4().hex[:8]
        self._config = KafkaConfig(
            bootstrap_servers=bootstrap,
            group=f"group-{name}",
            frames_topic=f"frames-{name}",
            results_topic=f"results-{name}",
            dead_letter_topic=f"dead-{name}",
            default_recipe=recipe,
            **kafka,
        )
        self._watch = Stopwatch(on_first)
        self._waiting = waiting
        self._parts = (engine, limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event loop")

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(600)

    def __enter__(self) -> Self:
        logging.getLogger("aiokafka").setLevel(logging.ERROR)  # it warns of what it tries again
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> None:
        partitions = Partitions(frames=PARTITIONS, results=2)
        await ensure_topics(self._config, max_frame_bytes=FRAME_BYTES, partitions=partitions, replication=1)
        self._watch.expect(len(self._waiting))
        await self._produce(self._waiting)
        engine, limits = self._parts
        exactly_once = self._config.delivery == "exactly_once"
        ledger = ExactlyOnceSink(self._config, observer=self._watch) if exactly_once else None
        self._pipeline = Pipeline(
            sources=[KafkaSource(self._config, observer=self._watch, ledger=ledger)],
            engine=engine,
            ledger=ledger,
            sinks=[] if ledger else [AtLeastOnceSink(self._config)],
            limits=limits,
            observer=self._watch,
        )
        self._running = asyncio.create_task(self._pipeline.run())

    async def _stop(self) -> None:
        await self._pipeline.drain()
        await self._running

    def seconds_of_waiting(self) -> float:
        """From the first frame read until the results of all that waited are committed."""
        end = self._watch.wait()
        assert self._watch.begin is not None
        return end - self._watch.begin

    async def _produce(self, jpegs: Sequence[bytes]) -> None:
        brokers = self._config.bootstrap_servers
        async with AIOKafkaProducer(bootstrap_servers=brokers, max_request_size=2 * FRAME_BYTES) as producer:
            for number, jpeg in enumerate(jpegs):
                partition = number % PARTITIONS
                camera = f"camera-{partition}"
                headers = frame_headers(frame_id=uuid.uuid4().hex, camera=camera, time=datetime.now(UTC))
                await producer.send(
                    self._config.frames_topic, jpeg, key=camera.encode(), headers=headers, partition=partition
                )

    @property
    def end_to_end_s(self) -> Sequence[float]:
        """From read to committed, of every frame."""
        return self._watch.end_to_end_s


class Stopwatch(Observer):
    """Tells when so many results are committed, and how long frames took."""

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.begin: float | None = None
        self._on_first = on_first
        self.end_to_end_s: list[float] = []
        self._done = threading.Event()
        self._left = 0
        self._end = 0.0

    def expect(self, results: int) -> None:
        """So many more."""
        self._left = results
        self._done.clear()

    def wait(self) -> float:
        """When the last of them was committed, by `time.perf_counter`."""
        assert self._done.wait(600), f"{self._left} results never came"
        return self._end

    def frame_received(self, camera: str) -> None:
        if self.begin is None:
            self._on_first()
            self.begin = time.perf_counter()

    def result(self, result: Any) -> None:
        assert result.reason is None, result.detail
        self._left -= 1
        if self._left == 0:
            self._end = time.perf_counter()
            self._done.set()

    def stage_seconds(self, stage: str, camera: str, seconds: float) -> None:
        if stage == "end_to_end":
            self.end_to_end_s.append(seconds)
