"""Very many names of cameras, frames, recipes and announcements: memory, series and Redis keys stay bounded."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis.asyncio as redis
from aiokafka import AIOKafkaProducer

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.topics import Partitions, ensure_topics
from patchline.stream.wire.frames import frame_headers
from tests.chaos.crowd import RECIPE, Crowd, Worker, small_bank, until
from tests.chaos.figure import Measured
from tests.chaos.line import settings_of
from tests.chaos.scrape import samples
from tests.chaos.tally import Tally
from tests.services.kafka import KafkaBroker
from tests.services.redis import RedisServer
from tests.stream.kafka_help import FRAME_BYTES
from tests.stream.scripted import jpeg

PARTITIONS = 4
_AHEAD = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """So many `names` of each kind, in two halves; `max_cameras` of them are told apart and have alarms.

    `growth` is what memory may grow by from the first half to the second. None: it is only stated, for so few.
    """

    names: int
    max_cameras: int
    growth: float | None


SHORT = Sizes(names=600, max_cameras=50, growth=None)
LONG = Sizes(names=100_000, max_cameras=1000, growth=0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """Of the worker and its Redis."""

    resident_bytes: int
    series: int
    keys: int
    redis_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.resident_bytes / 2**20:.0f} MiB, {self.series:,} series, {self.keys:,} Redis keys"
            f" of {self.redis_bytes / 2**20:.1f} MiB"
        )


def measure(sizes: Sizes) -> list[Measured]:
    """One worker that learns and has alarms; every camera rejects and passes in turn, so each would have an alarm."""
    with TemporaryDirectory(prefix="patchline-chaos-") as folder, KafkaBroker() as broker, RedisServer() as server:
        broker.start_broker()
        server.start_redis()
        return asyncio.run(_measure(sizes, Path(folder), broker, server))


async def _measure(sizes: Sizes, folder: Path, broker: KafkaBroker, server: RedisServer) -> list[Measured]:
    config = KafkaConfig(bootstrap_servers=broker.bootstrap)
    partitions = Partitions(frames=PARTITIONS, results=2, feedback=1)
    await ensure_topics(config, max_frame_bytes=FRAME_BYTES, partitions=partitions, replication=1, learning=True)
    settings = settings_of(config, small_bank(folder), session_timeout_s=10.0)
    settings["recipes"][RECIPE]["learns"] = True
    settings |= {
        "redis": {"url": server.url},
        "alarms": {"rejects": 1, "window": 2, "passes": 2, "max_cameras": sizes.max_cameras},
        "limits": {"max_camera_labels": sizes.max_cameras},
        "evidence": {"url": str(folder / "evidence"), "pass_share": 0.0, "keep_bytes": 2**20},
    }
    states, half = list[_State](), sizes.names // 2
    with Crowd(folder, settings) as crowd:
        worker = await crowd.start_ready()
        async with Tally(config) as tally, redis.from_url(server.url) as client:
            states.append(await _state(worker, client))
            for first in (0, half):
                await _messages(config, first, half)
                await _frames(config, crowd, tally, first, half)
                await asyncio.sleep(2)  # what follows the results
                states.append(await _state(worker, client))
            lost = 2 * half - sum(tally.seen[f"name-{number}"] == 1 for number in range(2 * half))
        await worker.drain()
    before, between, after = states
    # Beside the cameras' own, what there is anyway: streams, sets, positions.
    most_keys = 3 * sizes.max_cameras + 50
    grown = after.resident_bytes / between.resident_bytes - 1
    return [
        Measured(
            name=f"{2 * half:,} names of cameras, frames, recipes, announcements and operators",
            measured=f"{before}; after half of them {between}; after all {after}; {lost} frames without one result",
            goal=f"no more series than after half, at most {most_keys:,} keys, none lost",
            met=after.series <= between.series and after.keys <= most_keys and not lost,
        ),
        Measured(
            name="resident memory of the worker, after all over after half of them",
            measured=f"{grown:+.1%}",
            goal="stated" if sizes.growth is None else f"at most {sizes.growth:+.0%}",
            met=sizes.growth is None or grown <= sizes.growth,
        ),
    ]


async def _state(worker: Worker, client: Any) -> _State:
    info = await client.info("memory")
    return _State(
        resident_bytes=worker.resident_bytes,
        series=len(await samples(worker)),
        keys=int(await client.dbsize()),
        redis_bytes=int(info["used_memory"]),
    )


async def _frames(config: KafkaConfig, crowd: Crowd, tally: Tally, first: int, count: int) -> None:
    pictures = (jpeg(200), jpeg(66))
    async with AIOKafkaProducer(bootstrap_servers=config.bootstrap_servers) as producer:
        for number in range(first, first + count):
            camera, partition = f"camera {number}", number % PARTITIONS
            headers = frame_headers(frame_id=f"name-{number}", camera=camera, time=datetime.now(UTC), recipe=RECIPE)
            await producer.send(
                config.frames_topic,
                pictures[number % 2],
                key=camera.encode(),
                headers=headers,
                partition=partition,
            )
            if number - _AHEAD > len(tally.seen):
                await until(lambda: not crowd.running or number - _AHEAD // 2 <= len(tally.seen), "results")  # noqa: B023
    await until(lambda: not crowd.running or len(tally.seen) >= first + count, "every result", seconds=600)


async def _messages(config: KafkaConfig, first: int, count: int) -> None:
    """Announcements of recipes, feedback of operators: each with a name of its own."""
    now = datetime.now(UTC).isoformat()
    async with AIOKafkaProducer(bootstrap_servers=config.bootstrap_servers) as producer:
        for number in range(first, first + count):
            recipe = f"recipe {number}"
            announced = {
                "recipe": recipe,
                "generation": {"number": number, "sha256": "0" * 64},
                "rows": 100,
                "threshold": 24.5,
                "time": now,
                "operator": f"operator {number}",
            }
            feedback = {
                "feedback_id": f"feedback {number}",
                "recipe": recipe,
                "frame_id": f"nowhere {number}",
                "verdict": "confirm_good",
                "operator": f"operator {number}",
                "time": now,
            }
            for topic, kind, value in (
                (config.generations_topic, "generation", announced),
                (config.feedback_topic, "feedback", feedback),
            ):
                headers = [("ce_specversion", b"1.0"), ("ce_type", f"io.patchline.{kind}.v1".encode())]
                await producer.send(
                    topic, json.dumps(value).encode(), key=recipe.encode(), headers=headers, partition=0
                )
