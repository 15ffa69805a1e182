"""A broker of a figure's own, the topics of a line with one camera a partition, and its workers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.topics import Partitions, ensure_topics
from tests.chaos.crowd import RECIPE, Crowd, small_bank
from tests.chaos.tally import Tally
from tests.services.kafka import KafkaBroker
from tests.stream.kafka_help import FRAME_BYTES

T = TypeVar("T")

CAMERAS = tuple(f"cam-{number}" for number in range(6))
"""Camera N sends to partition N."""


def on_a_broker(work: Callable[[Path, KafkaBroker], Coroutine[Any, Any, T]], *, session_timeout_s: int = 60) -> T:
    """Run `work` with a folder and a running broker, which are gone afterwards; see `KafkaBroker` for the timeout."""
    with (
        TemporaryDirectory(prefix="patchline-chaos-") as folder,
        KafkaBroker(session_timeout_s=session_timeout_s) as broker,
    ):
        broker.start_broker()
        return asyncio.run(work(Path(folder), broker))


async def new_line(broker: KafkaBroker) -> KafkaConfig:
    """The topics, made on a broker of the figure's own."""
    config = KafkaConfig(bootstrap_servers=broker.bootstrap)
    partitions = Partitions(frames=len(CAMERAS), results=2)
    await ensure_topics(config, max_frame_bytes=FRAME_BYTES, partitions=partitions, replication=1)
    return config


@asynccontextmanager
async def small_line(
    folder: Path, broker: KafkaBroker, *, session_timeout_s: float
) -> AsyncIterator[tuple[KafkaConfig, Crowd, Tally]]:
    """The topics, no worker yet, and a tally of all results. At the end the workers that run are drained."""
    config = await new_line(broker)
    with Crowd(folder, settings_of(config, small_bank(folder), session_timeout_s=session_timeout_s)) as crowd:
        async with Tally(config) as tally:
            yield config, crowd, tally
        for worker in crowd.running:
            await worker.drain()


def settings_of(config: KafkaConfig, bank: Path, *, session_timeout_s: float) -> dict[str, Any]:
    """The settings of a worker on that line."""
    return {
        "recipes": {RECIPE: {"bank": str(bank)}},
        "kafka": {
            "bootstrap": config.bootstrap_servers,
            "group": config.group,
            "create_topics": False,
            "session_timeout_s": session_timeout_s,
        },
        "engine": {"device": "cpu", "backbone_runtime": "torch"},
    }
