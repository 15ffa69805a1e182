"""Broken frames and messages to a real worker: each has exactly one answer, and nothing crashes, hangs or grows."""

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.topics import Partitions, ensure_topics
from tests.chaos.crowd import RECIPE, Crowd, small_bank
from tests.chaos.figure import Measured
from tests.chaos.line import CAMERAS, settings_of
from tests.chaos.mutants import MAX_PIXELS
from tests.chaos.mutated_frames import all_committed, answers_to, broken_frames, memory, with_broken_headers
from tests.chaos.mutated_messages import followed, learned
from tests.chaos.sender import Sender
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer
from tests.stream.kafka_help import FRAME_BYTES
from tests.stream.scripted import jpeg


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Frames with broken bytes; then messages: frames with broken headers, feedback, results and announcements.

    `growth`: what the worker's memory may grow by from the first half of the frames to the last. None: it is not
    looked at, for so few.
    """

    frames: int
    headers: int
    feedback: int
    results: int
    announcements: int
    growth: float | None = 0.05
    seed: int = 0


SHORT = Sizes(frames=150, headers=100, feedback=60, results=60, announcements=40, growth=None)
LONG = Sizes(frames=10_000, headers=4_000, feedback=2_500, results=2_000, announcements=1_500)


def measure(sizes: Sizes) -> list[Measured]:
    """One worker that learns and follows alarms, so that it reads every kind of message."""
    with TemporaryDirectory(prefix="patchline-chaos-") as folder, KafkaBroker() as broker, RedisServer() as server:
        broker.start_broker()
        server.start_redis()
        return asyncio.run(_measure(sizes, Path(folder), broker, server))


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker, server: RedisServer) -> list[Measured]:
    config = KafkaConfig(bootstrap_servers=broker.bootstrap)
    # One partition of feedback: its answers come in its order.
    partitions = Partitions(frames=len(CAMERAS), results=2, feedback=1)
    await ensure_topics(config, max_frame_bytes=FRAME_BYTES, partitions=partitions, replication=1, learning=True)
    stored = folder / "stored"
    stored.mkdir()
    (stored / "good.jpg").write_bytes(jpeg(66))
    settings = settings_of(config, small_bank(folder), session_timeout_s=10.0)
    settings["recipes"][RECIPE]["learns"] = True
    settings |= {
        "redis": {"url": server.url},
        "evidence": {"url": str(folder / "evidence"), "pass_share": 1.0},
        "limits": {"max_pixels": MAX_PIXELS, "frame_references": [str(stored)]},
    }
    draw = random.Random(sizes.seed)
    frames = list(broken_frames(sizes.frames, draw))
    others = list(with_broken_headers(sizes.headers, stored, draw))
    sent, resident_bytes = [], []
    with Crowd(folder, settings) as crowd:
        worker = await crowd.start_ready()
        async with Sender(config) as sender:
            half = len(frames) // 2
            for some in (frames[:half], frames[half:], others):
                sent += await sender.frames(some, len(CAMERAS))
                await all_committed(config, crowd, sent)
                resident_bytes.append(worker.resident_bytes)
            found = await answers_to(frames, sent, config)
            if sizes.growth is not None:
                found.append(memory(resident_bytes[0], resident_bytes[1], len(frames), sizes.growth))
            found.append(await followed(config, crowd, sender, server, sizes.results, draw))
            found.append(await learned(config, crowd, sender, sizes.feedback, sizes.announcements, draw))
        await worker.drain()
    return [*found, _alive(crowd)]


def _alive(crowd: Crowd) -> Measured:
    statuses = [worker.process.returncode for worker in crowd.all]
    return Measured(
        name="workers started, and how they ended",
        measured=f"{len(statuses)}, {', '.join(map(str, statuses))}",
        goal="one, in order",
        met=statuses == [0],
    )
