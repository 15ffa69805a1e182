"""Workers as people run them, on a real broker, under a steady load of tiles: the line that learning is timed on."""

import asyncio
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.feedback import KafkaFeedback
from patchline.stream.kafka.topics import Partitions, ensure_topics
from patchline.stream.model.feedback import Feedback, FeedbackReply, FeedbackVerdict
from patchline.stream.wire.frames import frame_headers
from tests.bench.bench import Bench
from tests.bench.workload import fitted_paths
from tests.e2e.service import Service, patchline
from tests.services.kafka import KafkaBroker

RECIPE = "tile"
FRAME_BYTES = 2**20
FITTED = 360
"""Tiles of the bank, beside those that `fitted_paths` sets aside: by folds as many calibrate as ever do
(`fitting.folds.MOST_CALIBRATED`).
"""
WAITING = 64
"""Frames for each worker that wait or are in flight while capacity is measured: some batches, and a commit of them."""


class LearningLine:
    """Workers on one store and one broker, frames at a given rate, and taps."""

    def __init__(self, config: KafkaConfig, workers: list[Service], tiles: list[bytes], inbox: KafkaFeedback) -> None:
        self.workers = workers
        self.latencies: list[tuple[float, float]] = []
        """Of each result: when it was read (monotonic) and the frame's latency, in seconds."""
        self._config, self._tiles, self._inbox = config, tiles, inbox
        self._sent = 0

    async def send(self, rate: float, seconds: float, producer: AIOKafkaProducer) -> None:
        """Frames at a steady rate, to all partitions in turn."""
        begin = time.monotonic()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
            await self._send(producer)

    async def capacity(self, frames: int, producer: AIOKafkaProducer) -> float:
        """Frames a second of all workers together when there are always more, sent one by one as under a load."""
        before, waiting = len(self.latencies), WAITING * len(self.workers)
        for number in range(frames):
            while len(self.latencies) < before + number - waiting:
                await asyncio.sleep(0.005)
            await self._send(producer)
        while len(self.latencies) < before + frames:
            await asyncio.sleep(0.05)
        times = [at for at, _ in self.latencies[before:]]
        first, last = times[frames // 4], times[-1]
        return (frames - frames // 4 - 1) / (last - first)

    async def _send(self, producer: AIOKafkaProducer) -> None:
        partition = self._sent % 6
        headers = frame_headers(
            frame_id=f"frame-{self._sent}", camera=f"cam-{partition}", time=datetime.now(UTC), recipe=RECIPE
        )
        tile = self._tiles[self._sent % len(self._tiles)]
        self._sent += 1
        await producer.send(self._config.frames_topic, tile, headers=headers, partition=partition)

    async def tap(self, image: bytes) -> tuple[float, FeedbackReply]:
        """Confirm an image as good; when that was (seconds since the epoch), and the answer."""
        name = uuid.uuid4().hex
        at = time.time()
        feedback = Feedback(
            feedback_id=name,
            recipe=RECIPE,
            frame_id=f"tapped-{name}",
            verdict=FeedbackVerdict.CONFIRM_GOOD,
            operator="bench",
            time=datetime.now(UTC),
            image=image,
        )
        await self._inbox.submit(feedback)
        async with asyncio.timeout(120):
            while (reply := self._inbox.reply(name)) is None:
                await asyncio.sleep(0.01)
        return at, reply

    async def active(self, generation: int) -> float:
        """When a generation was active in the last of the workers, by their logs (seconds since the epoch)."""
        async with asyncio.timeout(120):
            while True:
                times = [self._taken(worker).get(generation) for worker in self.workers]
                known = [at for at in times if at is not None]
                if len(known) == len(times):
                    return max(known)
                await asyncio.sleep(0.05)

    @staticmethod
    def _taken(worker: Service) -> dict[int, float]:
        lines = (json.loads(text) for text in worker.printed.splitlines() if '"generation taken"' in text)
        return {line["generation"]: datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines}


@asynccontextmanager
async def learning_line(bench: Bench, *, workers: int) -> AsyncIterator[tuple[LearningLine, AIOKafkaProducer]]:
    """A fitted bank of about 3,000 rows, a broker, and workers that take frames."""
    fitted, held = fitted_paths(bench, "magnetic_tile", FITTED)
    bank = _bank(bench, fitted + held)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="learning-", dir=bench.build)))
        await asyncio.to_thread(shutil.copytree, bank, folder / RECIPE)
        broker = stack.enter_context(KafkaBroker())
        broker.start_broker()
        config = KafkaConfig(bootstrap_servers=broker.bootstrap)
        await ensure_topics(
            config, max_frame_bytes=FRAME_BYTES, partitions=Partitions(frames=6), replication=1, learning=True
        )
        services = []
        for _ in range(workers):
            service = stack.enter_context(Service(_settings(config, folder)))
            service.run()
            services.append(service)
        inbox = KafkaFeedback(config, max_frame_bytes=FRAME_BYTES, answers=False)
        await inbox.open()
        stack.push_async_callback(inbox.close)
        line = LearningLine(config, services, [path.read_bytes() for path in held], inbox)
        reading = [asyncio.create_task(work) for work in (_follow(inbox), _read(config, line))]
        stack.callback(lambda: [task.cancel() for task in reading])
        producer = await stack.enter_async_context(AIOKafkaProducer(bootstrap_servers=broker.bootstrap, linger_ms=0))
        yield line, producer


def _bank(bench: Bench, paths: list[Path]) -> Path:
    """A bank fitted to these images, made once and kept; what learns from it takes a copy."""
    options = ["--backbone", "efficientnet_lite0"]
    what = "|".join([*options, *map(str, paths)])
    kept = bench.build / f"learning-bank-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    if not kept.exists():
        bench.say(f"fitting {len(paths)} frames, once ...")
        with TemporaryDirectory(dir=bench.build) as made:
            good = Path(made) / "good"
            good.mkdir()
            for path in paths:
                (good / path.name).symlink_to(path)
            patchline("fit", good, "--out", Path(made) / RECIPE, "--name", RECIPE, *options)
            (Path(made) / RECIPE).rename(kept)
    return kept


def altered(path: Path, seed: int) -> bytes:
    """A tile with a mark of its own: each teaches the bank some rows. PNG."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None
    noise = np.random.default_rng(seed)
    height, width = image.shape[0] // 6, image.shape[1] // 6
    top, left = (int(noise.integers(0, side - part)) for side, part in zip(image.shape, (height, width), strict=False))
    cells = noise.normal(0, 40, (4, 4, 3)).astype(np.float32)
    cast = np.zeros(image.shape, dtype=np.float32)
    cast[top : top + height, left : left + width] = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    light = noise.uniform(0.98, 1.02)
    ok, encoded = cv2.imencode(".png", np.clip(image * light + cast, 0, 255).astype(np.uint8))
    assert ok
    return encoded.tobytes()


def _settings(config: KafkaConfig, folder: Path) -> dict[str, Any]:
    return {
        "recipes": {RECIPE: {"bank": str(folder / RECIPE), "learns": True}},
        "kafka": {"bootstrap": config.bootstrap_servers, "create_topics": False},
        "limits": {"batch_size": 4},
        "log": {"format": "json"},
    }


async def _follow(inbox: KafkaFeedback) -> None:
    async for _ in inbox.announced():
        pass


async def _read(config: KafkaConfig, line: LearningLine) -> None:
    reader = AIOKafkaConsumer(
        config.results_topic,
        bootstrap_servers=config.bootstrap_servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with reader:
        async for record in reader:
            line.latencies.append((time.monotonic(), json.loads(record.value)["latency_ms"] / 1000))
