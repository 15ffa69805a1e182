"""Topics of a line with one camera a partition, and the settings of its workers."""

from pathlib import Path
from typing import Any

from stream.config import KafkaConfig
from stream.kafka_topics import Partitions, ensure_topics
from tests.chaos.crowd import RECIPE
from tests.services.kafka import KafkaBroker
from tests.stream.kafka_help import FRAME_BYTES

CAMERAS = tuple(f"cam-{number}" for number in range(6))
"""Camera N sends to partition N."""


async def new_line(broker: KafkaBroker) -> KafkaConfig:
    """The topics, made on a broker of the figure's own."""
    config = KafkaConfig(bootstrap_servers=broker.bootstrap)
    partitions = Partitions(frames=len(CAMERAS), results=2)
    await ensure_topics(config, max_frame_bytes=FRAME_BYTES, partitions=partitions, replication=1)
    return config


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
