"""The alarm events that committed results make, and those that Redis has."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import redis.asyncio as redis

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.model.alarm import Alarm, AlarmConfig, AlarmEvent, observation_of, observe
from patchline.stream.wire.alarms import decode_event
from patchline.stream.wire.results import read_frame_position, read_result
from tests.stream.kafka_help import read_topic

Events: TypeAlias = Mapping[str, Sequence[tuple[str, str | None]]]
"""(change, frame id) in their order, by camera."""


async def expected(config: KafkaConfig, rule: AlarmConfig) -> Events:
    """The events that the committed results make, where nobody acknowledges."""
    alarms: dict[str, Alarm] = {}
    events = defaultdict[str, list[tuple[str, str | None]]](list)
    for record in await read_topic(config, config.results_topic):
        result = read_result(record.headers, record.value)
        alarm = alarms.get(result.camera, Alarm(camera=result.camera))
        seen = observation_of(result, read_frame_position(record.headers))
        alarms[result.camera], changes = observe(alarm, seen, rule)
        events[result.camera] += [(change.change.value, change.frame_id) for change in changes]
    return {camera: found for camera, found in events.items() if found}


async def found(where: RedisConfig) -> Events:
    """The events of the alarm stream; none while Redis is away."""
    events = defaultdict[str, list[tuple[str, str | None]]](list)
    with suppress(redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
        for event in await in_stream(where):
            events[event.camera].append((event.change.value, event.frame_id))
    return dict(events)


async def in_stream(where: RedisConfig) -> list[AlarmEvent]:
    """The events of the alarm stream, in its order."""
    client = redis.from_url(where.url, decode_responses=True)
    try:
        messages = await client.xrange(f"{where.prefix}alarms")
    finally:
        await client.aclose()
    return [decode_event(fields["event"]) for _, fields in messages or [] if fields is not None]
