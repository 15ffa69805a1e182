"""Whether the brokers, the Redis and the cameras that the settings name answer."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

from patchline.ops.errors import Problem
from patchline.ops.settings.cameras import RtspCamera
from patchline.ops.settings.file import Reading
from patchline.ops.settings.model import Settings
from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.probe import probe
from patchline.stream.kafka.connection import ping
from patchline.stream.model.errors import StreamError
from patchline.stream.support.redaction import redact_text

ANSWER_S = 10.0


def connection_problems(settings: Settings, reading: Reading) -> list[Problem]:
    """A problem for each service that does not answer within ten seconds, or refuses."""
    return asyncio.run(_ask_all(settings, reading))


async def _ask_all(settings: Settings, reading: Reading) -> list[Problem]:
    asked: list[tuple[tuple[str, ...], str, Awaitable[None]]] = []
    kafka, redis = settings.kafka_config(), settings.redis.to_config()
    if kafka is not None:
        asked.append((("kafka", "bootstrap"), "brokers that answer", ping(kafka)))
    if redis is not None:
        asked.append((("redis", "url"), "a Redis that answers", _ask_redis(redis)))
    for name, camera in settings.cameras.items():
        if isinstance(camera, RtspCamera):
            config = camera.to_config(name, settings.limits.max_pixels)
            key = "url_file" if camera.url_file is not None else "url"
            asked.append((("cameras", name, key), "a camera that shows pictures", _look_at(config)))
    problems = []
    for path, expected, answer in asked:
        try:
            async with asyncio.timeout(ANSWER_S):
                await answer
        except TimeoutError:
            problems.append(Problem(reading.place(path), ".".join(path), "no answer", expected))
        except StreamError as error:
            problems.append(Problem(reading.place(path), ".".join(path), redact_text(str(error)), expected))
    return problems


async def _look_at(config: CameraConfig) -> None:
    """Have a camera show one picture; the time that it may take is less than what is waited for."""
    timely = replace(config, open_timeout_s=min(config.open_timeout_s, ANSWER_S / 2 - 1))
    await asyncio.to_thread(probe, timely, seconds=0)


async def _ask_redis(config: RedisConfig) -> None:
    store = AlarmStore(config)
    try:
        await store.ping()
    finally:
        await store.close()
