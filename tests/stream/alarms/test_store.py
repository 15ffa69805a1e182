import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import redis.asyncio as redis
from redis.typing import EncodableT, FieldT

from patchline.engine.types import Verdict
from patchline.stream.alarms.acknowledgements import acknowledge_alarm
from patchline.stream.alarms.config import JournalConfig, RedisConfig
from patchline.stream.alarms.journal import AlarmJournal
from patchline.stream.alarms.sink import AlarmSink
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.alarms.written import Advance, WriteAnswer, Written
from patchline.stream.model.alarm import Alarm, AlarmChange, AlarmConfig, AlarmState
from patchline.stream.model.errors import AlarmGap, SinkError
from patchline.stream.model.frame import Position
from patchline.stream.model.outcome import Outcome
from patchline.stream.model.result import Result
from patchline.stream.wire.alarms import StoredAlarm, decode_event
from tests.services.redis import RedisServer
from tests.stream.alarm_help import in_stream
from tests.stream.scripted import Recorder, frame
from tests.stream.waiting import until

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
def config(redis_url: str, unique_name: Callable[[str], str]) -> RedisConfig:
    return RedisConfig(url=redis_url, prefix=unique_name("patchline") + ":", timeout_s=1.0)


async def events_in(config: RedisConfig) -> list[str]:
    return [f"{event.camera} {event.change}" for event in await in_stream(config)]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "alarms.sqlite3"


def sink_of(config: RedisConfig, journal: Path, seen: Recorder | None = None, size: int = 1000) -> AlarmSink:
    logs = AlarmJournal(JournalConfig(path=journal, size=size), observer=seen)
    return AlarmSink(config, ALARMS, logs, observer=seen)


async def deliver(
    config: RedisConfig,
    journal: Path,
    script: str,
    seen: Recorder | None = None,
    *,
    first: int = 0,
    replayable: bool = True,
) -> None:
    sink = sink_of(config, journal, seen)
    await sink.open()
    await sink.deliver(outcomes(script, first=first, replayable=replayable))
    await sink.close()


async def test_state_events_and_channel_agree(config: RedisConfig, journal: Path) -> None:
    """A raise is in the hash, in the stream, on the channel and with the observer, once."""
    client = redis.from_url(config.url, decode_responses=True)
    live = client.pubsub()
    await live.subscribe(f"{config.prefix}alarms:live")
    seen = Recorder()
    await deliver(config, journal, "PRPRRR", seen)
    state = await client.hgetall(f"{config.prefix}alarm:cam-1")
    assert (state["state"], state["alarm_id"], state["window"]) == ("unacknowledged", "cam-1/3", "PRRR")
    assert await events_in(config) == ["cam-1 raised"]
    heard = []
    while (message := await live.get_message(timeout=0.5)) is not None:
        if message["type"] == "message":
            heard.append(decode_event(message["data"]))
    assert heard == seen.alarm_events
    assert [event.change for event in heard] == [AlarmChange.RAISED]
    await live.aclose()  # type: ignore[no-untyped-call] # redis-py leaves it without types
    await client.aclose()


async def test_frames_delivered_again_count_once(config: RedisConfig, journal: Path) -> None:
    """After a crash the last frames come again: no alarm is raised from them a second time."""
    await deliver(config, journal, "RPPP")
    before = await AlarmStore(config).load("cam-1")
    await deliver(config, journal, "RPPP")
    await deliver(config, journal, "PP", first=2)
    assert (await AlarmStore(config).load("cam-1")).alarm == before.alarm
    assert await events_in(config) == []
    await deliver(config, journal, "RR", first=4)
    assert await events_in(config) == ["cam-1 raised"]


async def test_frames_of_a_live_camera_delivered_again_count_once(config: RedisConfig, journal: Path) -> None:
    """A delivery that is made again, with more behind it, counts once as well where frames have no position."""
    sink = sink_of(config, journal)
    await sink.open()
    for script in ("RPP", "RPPP", "RPPPR"):
        await sink.deliver(outcomes(script, replayable=False))
    await sink.close()
    assert (await AlarmStore(config).load("cam-1")).alarm.window == "PPPR"
    assert await events_in(config) == []


async def test_a_topic_made_anew_starts_again(config: RedisConfig, journal: Path) -> None:
    """Offsets that begin again are new frames when they were taken later."""
    await deliver(config, journal, "PPPP", first=1000)
    late = outcomes("RR", first=0)
    sink = sink_of(config, journal)
    await sink.open()
    later = [
        Outcome(frame=o.frame, result=_at(o.result, START + timedelta(days=1, seconds=n))) for n, o in enumerate(late)
    ]
    await sink.deliver(later)
    await sink.close()
    assert await events_in(config) == ["cam-1 raised"]


def _at(result: Result, time: datetime) -> Result:
    return msgspec.structs.replace(result, time=time)


async def test_acknowledged_directly_and_by_message(config: RedisConfig, journal: Path) -> None:
    """An operator acknowledges by a call, or by a message that any worker serves; the alarm then clears."""
    seen = Recorder()
    sink = sink_of(config, journal, seen)
    await sink.open()
    await sink.deliver(outcomes("RR") + outcomes("RR", camera="cam-2"))
    await until(lambda: len(seen.alarm_events) == 2)
    store = AlarmStore(config)
    events = await acknowledge_alarm(store, "cam-1", "ada")
    assert [event.change for event in events] == [AlarmChange.ACKNOWLEDGED]
    assert await acknowledge_alarm(store, "cam-1", "ada") == ()
    client = redis.from_url(config.url)
    requests: list[dict[FieldT, EncodableT]] = [
        {"camera": "cam-2", "operator": "ben"},
        {"camera": "cam-9", "operator": "x"},
        {"nonsense": "1"},
    ]
    for fields in requests:
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


async def test_two_writers_do_not_overwrite_each_other(config: RedisConfig) -> None:
    """A change computed from an old state, or from another place in the log, is refused whole."""
    store = AlarmStore(config)
    first, other = (StoredAlarm(Alarm(camera="cam-1", window=window), 1, "a") for window in "PR")
    assert await store.write([first], [], Advance("log", None, 5)) == WriteAnswer(Written.WRITTEN)
    assert await store.write([other], [], Advance("log", 5, 9)) == WriteAnswer(Written.CHANGED)
    assert await store.write([StoredAlarm(other.alarm, 2, "b")], [], Advance("log", None, 9)) == WriteAnswer(
        Written.MOVED
    )
    assert await store.write([StoredAlarm(other.alarm, 2, "b")], [], Advance("log", 4, 9)) == WriteAnswer(Written.MOVED)
    assert (await store.load("cam-1"), await store.position("log")) == (first, 5)
    await store.close()


async def test_redis_away_holds_alarms_not_results(unique_name: Callable[[str], str], journal: Path) -> None:
    """While Redis hangs deliveries return; when it is back the alarms are there, in order, once.

    The writes that timed out still sit in its sockets, and are carried out when it wakes.
    """
    with RedisServer() as server:
        server.start_redis()
        config = RedisConfig(url=server.url, prefix=unique_name("p") + ":", timeout_s=0.3)
        seen = Recorder()
        sink = sink_of(config, journal, seen)
        await sink.open()
        await sink.deliver(outcomes("RP"))
        await until(lambda: seen.redis_up is True)
        server.process.send_signal(signal.SIGSTOP)
        await sink.deliver(outcomes("RPPP", first=2))
        await sink.deliver(outcomes("RR", first=6))
        assert seen.alarm_events == []
        await until(lambda: len(seen.retries) > 3)
        assert seen.redis_up is False
        server.process.send_signal(signal.SIGCONT)
        await until(lambda: len(seen.alarm_events) == 3)
        assert seen.redis_up is True
        await sink.close()
        assert await events_in(config) == ["cam-1 raised", "cam-1 returned", "cam-1 reraised"]


async def test_what_waits_outlives_the_service(config: RedisConfig, journal: Path) -> None:
    """Frames whose alarms Redis never took are applied by the next run of the service, in order, once."""
    away = RedisConfig(url="redis://:sesame@127.0.0.1:1/0", prefix=config.prefix, timeout_s=0.1)
    await deliver(config, journal, "RP", replayable=False)
    await deliver(away, journal, "RPPP", first=2, replayable=False)
    seen = Recorder()
    await deliver(away, journal, "RR", seen, first=6, replayable=False)
    assert any("not applied yet" in error for _, error in seen.retries)
    assert "sesame" not in str(seen.retries)
    await deliver(config, journal, "P", first=8, replayable=False)
    assert await events_in(config) == ["cam-1 raised", "cam-1 returned", "cam-1 reraised"]
    assert (await AlarmStore(config).load("cam-1")).alarm.window == "RRP"


async def test_a_full_journal_drops_the_oldest_and_counts_them(config: RedisConfig, journal: Path) -> None:
    """Disk is bounded: beyond the journal's size the oldest frames make room and are counted; results never wait."""
    away = RedisConfig(url="redis://127.0.0.1:1/0", prefix=config.prefix, timeout_s=0.1)
    seen = Recorder()
    sink = sink_of(away, journal, seen, size=5)
    await sink.open()
    for first in range(0, 12, 4):
        await sink.deliver(outcomes("RRPP", first=first))
    await sink.close()
    assert seen.alarm_gaps == {AlarmGap.JOURNAL_FULL: 7}
    assert seen.depth["alarm_log"] == 5
    await deliver(config, journal, "-")
    assert (await AlarmStore(config).load("cam-1")).alarm.window == "RRPP"


async def test_a_journal_has_one_service(config: RedisConfig, journal: Path) -> None:
    """A second process with the same file, and a file that is no journal, are refused by name."""
    sink, second = sink_of(config, journal), sink_of(config, journal)
    await sink.open()
    with pytest.raises(SinkError, match=r"alarms.sqlite3: database is locked \(by another process"):
        await second.open()
    await sink.close()
    journal.with_name("other").write_text("no database " * 100)
    with pytest.raises(SinkError, match="other: file is not a database"):
        await sink_of(config, journal.with_name("other")).open()


async def test_a_url_that_is_none_is_named(config: RedisConfig) -> None:
    """Before anything is connected."""
    with pytest.raises(SinkError, match="is not one"):
        AlarmStore(RedisConfig(url="http://nowhere"))
