import asyncio
import signal
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import redis.asyncio as redis

from engine.inspection import Verdict
from stream.alarm_sink import AlarmSink, acknowledge_alarm
from stream.alarm_store import AlarmStore, decode_event
from stream.alarms import Alarm, AlarmChange, AlarmState
from stream.config import AlarmConfig, RedisConfig
from stream.errors import SinkError, SinkUnavailableError
from stream.frame import Position
from stream.messages import Result
from stream.outcome import Outcome
from tests.services.redis import RedisServer
from tests.stream.kafka_help import until
from tests.stream.scripted import Recorder, frame

ALARMS = AlarmConfig(k=2, n=4, m=3)
START = datetime(2026, 1, 1, tzinfo=UTC)
LETTERS = {"R": Verdict.REJECT, "P": Verdict.PASS, "-": Verdict.NOT_INSPECTED}


def outcomes(script: str, *, camera: str = "cam-1", first: int = 0, replayable: bool = True) -> list[Outcome]:
    made = []
    for offset, letter in enumerate(script, first):
        position = Position("frames", 0, offset) if replayable else None
        result = Result(
            frame_id=f"{camera}/{offset}",
            camera=camera,
            recipe="plate",
            time=START + timedelta(seconds=offset),
            inspected_at=datetime.now(UTC),
            verdict=LETTERS[letter],
            latency_ms=1.0,
            score=2.0,
        )
        made.append(Outcome(frame=frame(result.frame_id, camera=camera, position=position), result=result))
    return made


@pytest.fixture
def config(redis_url, unique_name) -> RedisConfig:
    return RedisConfig(url=redis_url, prefix=unique_name("patchline") + ":", timeout_s=1.0)


async def events_in(config: RedisConfig) -> list[str]:
    client = redis.from_url(config.url, decode_responses=True)
    try:
        messages = await client.xrange(f"{config.prefix}alarms")
    finally:
        await client.aclose()
    decoded = [decode_event(fields["event"]) for _, fields in messages]
    return [f"{event.camera} {event.change}" for event in decoded]


async def deliver(config: RedisConfig, script: str, seen: Recorder | None = None, **more: object) -> None:
    sink = AlarmSink(config, ALARMS, observer=seen)
    await sink.open()
    await sink.deliver(outcomes(script, **more))
    await sink.close()


async def test_state_events_and_channel_agree(config):
    """A raise is in the hash, in the stream, on the channel and with the observer, once."""
    client = redis.from_url(config.url, decode_responses=True)
    live = client.pubsub()
    await live.subscribe(f"{config.prefix}alarms:live")
    seen = Recorder()
    await deliver(config, "PRPRRR", seen)
    state = await client.hgetall(f"{config.prefix}alarm:cam-1")
    assert (state["state"], state["alarm_id"], state["window"]) == ("unacknowledged", "cam-1/3", "PRRR")
    assert await events_in(config) == ["cam-1 raised"]
    heard = []
    while (message := await live.get_message(timeout=0.5)) is not None:
        if message["type"] == "message":
            heard.append(decode_event(message["data"]))
    assert heard == seen.alarm_events
    assert [event.change for event in heard] == [AlarmChange.RAISED]
    await live.aclose()
    await client.aclose()


@pytest.mark.parametrize("replayable", [True, False])
async def test_frames_delivered_again_count_once(config, replayable):
    """After a crash the last frames come again: no alarm is raised from them a second time."""
    await deliver(config, "RPPP", replayable=replayable)
    before = await AlarmStore(config).load("cam-1")
    await deliver(config, "RPPP", replayable=replayable)
    if replayable:
        await deliver(config, "PP", first=2)
    assert (await AlarmStore(config).load("cam-1")).alarm == before.alarm
    assert await events_in(config) == []
    await deliver(config, "RR", first=4, replayable=replayable)
    assert await events_in(config) == ["cam-1 raised"]


async def test_a_topic_made_anew_starts_again(config):
    """Offsets that begin again are new frames when they were taken later."""
    await deliver(config, "PPPP", first=1000)
    late = outcomes("RR", first=0)
    sink = AlarmSink(config, ALARMS)
    await sink.open()
    later = [
        Outcome(frame=o.frame, result=_at(o.result, START + timedelta(days=1, seconds=n))) for n, o in enumerate(late)
    ]
    await sink.deliver(later)
    await sink.close()
    assert await events_in(config) == ["cam-1 raised"]


def _at(result: Result, time: datetime) -> Result:
    return msgspec.structs.replace(result, time=time)


async def test_acknowledged_directly_and_by_message(config):
    """An operator acknowledges by a call, or by a message that any worker serves; the alarm then clears."""
    seen = Recorder()
    sink = AlarmSink(config, ALARMS, observer=seen)
    await sink.open()
    await sink.deliver(outcomes("RR") + outcomes("RR", camera="cam-2"))
    store = AlarmStore(config)
    events = await acknowledge_alarm(store, "cam-1", "ada")
    assert [event.change for event in events] == [AlarmChange.ACKNOWLEDGED]
    assert await acknowledge_alarm(store, "cam-1", "ada") == ()
    client = redis.from_url(config.url)
    for fields in ({"camera": "cam-2", "operator": "ben"}, {"camera": "cam-9", "operator": "x"}, {"nonsense": "1"}):
        await client.xadd(f"{config.prefix}alarms:ack", fields)

    async def acknowledged() -> bool:
        return (await store.load("cam-2")).alarm.state is AlarmState.ACKNOWLEDGED

    async with asyncio.timeout(20):
        while not await acknowledged() or await client.xlen(f"{config.prefix}alarms:ack"):
            await asyncio.sleep(0.05)
    assert (await store.load("cam-2")).alarm.acknowledged_by == "ben"
    await sink.deliver(outcomes("PPP", first=2))
    await sink.close()
    assert await events_in(config) == [
        "cam-1 raised",
        "cam-2 raised",
        "cam-1 acknowledged",
        "cam-2 acknowledged",
        "cam-1 cleared",
    ]
    assert await store.cameras() == ["cam-1", "cam-2"]
    assert [stored.alarm.state for stored in await store.all()] == [AlarmState.NORMAL, AlarmState.ACKNOWLEDGED]
    await client.aclose()
    await store.close()


async def test_two_writers_do_not_overwrite_each_other(config):
    """A change computed from an old state is refused, and computed again."""
    store = AlarmStore(config)
    before = await store.load("cam-1")
    assert await store.write(before, Alarm(camera="cam-1", window="P"), "a", []) is not None
    assert await store.write(before, Alarm(camera="cam-1", window="R"), "b", []) is None
    sink, other = AlarmSink(config, ALARMS), AlarmSink(config, ALARMS)
    await sink.open()
    await other.open()
    for offset in range(0, 8, 2):
        await sink.deliver(outcomes("P", first=offset))
        await other.deliver(outcomes("R", first=offset + 1))
    await sink.close()
    await other.close()
    assert (await store.load("cam-1")).alarm.window == "PRPR"
    assert await events_in(config) == ["cam-1 raised"]
    await store.close()


async def test_redis_away_holds_alarms_not_results(unique_name):
    """While Redis hangs deliveries go on after a short wait; when it is back the alarms are there, in order, once.

    The writes that timed out still sit in its sockets, and are carried out when it wakes.
    """
    with RedisServer() as server:
        server.start_redis()
        config = RedisConfig(url=server.url, prefix=unique_name("p") + ":", timeout_s=0.3)
        seen = Recorder()
        sink = AlarmSink(config, ALARMS, observer=seen)
        await sink.open()
        await sink.deliver(outcomes("RP"))
        server.process.send_signal(signal.SIGSTOP)
        await sink.deliver(outcomes("RPPP", first=2))
        await sink.deliver(outcomes("RR", first=6))
        assert seen.alarm_events == []
        assert seen.retries
        await until(lambda: len(seen.retries) > 3)
        server.process.send_signal(signal.SIGCONT)
        await until(lambda: len(seen.alarm_events) == 3)
        await sink.close()
        assert await events_in(config) == ["cam-1 raised", "cam-1 returned", "cam-1 reraised"]


async def test_a_full_outbox_holds_results():
    """Memory is bounded: beyond the outbox a delivery is refused for now, and nothing of it is taken."""
    config = RedisConfig(url="redis://:sesame@127.0.0.1:1/0", timeout_s=0.1, outbox_size=5)
    sink = AlarmSink(config, ALARMS)
    await sink.open()
    await sink.deliver(outcomes("RRRR"))
    with pytest.raises(SinkUnavailableError, match="4 judged frames wait") as caught:
        await sink.deliver(outcomes("RR", first=4))
    await sink.deliver(outcomes("R", first=4))
    assert "sesame" not in str(caught.value)
    await sink.close()


async def test_foreign_keys_and_refusals_are_named(config, redis_url):
    """A hash that is not ours, and a Redis that refuses, stop the sink with a message."""
    client = redis.from_url(redis_url)
    await client.hset(f"{config.prefix}alarm:cam-1", mapping={"state": "on fire"})
    sink = AlarmSink(config, ALARMS)
    await sink.open()
    with pytest.raises(SinkError, match="hash of camera 'cam-1' is not one of Patchline's"):
        await sink.deliver(outcomes("R"))
    await sink.close()
    await client.aclose()
    with pytest.raises(SinkError, match="is not one"):
        AlarmStore(RedisConfig(url="http://nowhere"))
