"""The follower with a scripted log and a scripted Redis: what is asked, in which order, and what is told."""

import asyncio
from collections.abc import Sequence
from typing import cast

from patchline.stream.alarms.follower import AlarmFollower
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import AlarmConfig, Observation
from patchline.stream.model.errors import SinkError, SinkUnavailableError
from tests.stream.alarms.test_applier import Store, run_of
from tests.stream.scripted import Recorder
from tests.stream.waiting import until


class RedisStore(Store):
    """As `Store`, with an address, and errors in front of the position."""

    where = "redis"

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    async def position(self, log: str) -> int | None:
        if self.errors:
            raise self.errors.pop(0)
        return self.at


class Log:
    """Runs of frames by position; what it is asked is noted."""

    name = "log"

    def __init__(self, script: str) -> None:
        self.frames = run_of(script)
        self.at = 0
        self.asked: list[tuple[str, int | None]] = []
        self.empty = asyncio.Event()
        self.nothing = 1

    async def begin(self, position: int | None) -> None:
        self.asked.append(("begin", position))
        self.at = position or 0

    async def read(self) -> tuple[Sequence[Observation], int | None]:
        if self.nothing:
            self.nothing -= 1
            return [], None
        if self.at >= len(self.frames):
            self.empty.set()
            await asyncio.Event().wait()
        run = self.frames[self.at : self.at + 2]
        self.at += len(run)
        return run, self.at

    async def applied(self, position: int) -> None:
        self.asked.append(("applied", position))

    async def is_empty(self) -> bool:
        return self.empty.is_set()


def follower_of(store: Store, seen: Recorder, failed: list[BaseException]) -> AlarmFollower:
    return AlarmFollower(cast(AlarmStore, store), AlarmConfig(k=2, n=4, m=2), {}, seen, failed.append)


async def test_a_log_is_applied_from_where_redis_stands_to_its_end() -> None:
    """Each run is let go once it is applied; a read with nothing new applies nothing; leaving takes states back."""
    store, log, seen = RedisStore(), Log("RRPP"), Recorder()
    store.at = 2
    follower = follower_of(store, seen, [])
    follower.start(log)
    async with asyncio.timeout(20):
        await follower.catch_up()
    assert log.asked == [("begin", 2), ("applied", 4)]
    assert store.alarms["cam-1"].alarm.window == "PP"
    assert seen.redis_up is True
    assert seen.alarm_states["cam-1"] is not None
    await follower.stop("log")
    await follower.stop("log")
    assert seen.alarm_states == {"cam-1": None}
    log.empty.clear()
    await follower.catch_up()  # a log that is not followed any more is not waited for
    await follower.close()


async def test_where_redis_stands_elsewhere_the_log_is_read_from_there() -> None:
    """Redis came back with older data, or another worker went on: the position is asked for again."""
    store, log, seen = RedisStore(), Log("RRPPRR"), Recorder()
    store.script = ["written", "moved"]
    follower = follower_of(store, seen, [])
    follower.start(log)
    await asyncio.wait_for(log.empty.wait(), 20)
    await follower.close()
    assert log.asked == [("begin", None), ("applied", 2), ("begin", 2), ("applied", 4), ("applied", 6)]
    assert [(advance.before, advance.after) for *_, advance in store.writes] == [(None, 2), (2, 4), (2, 4), (4, 6)]


async def test_redis_away_is_told_and_waited_for() -> None:
    """Whether Redis answers is told each time it is asked."""
    told: list[bool] = []

    class Told(Recorder):
        def alarm_store(self, up: bool) -> None:
            told.append(up)

    store, log = RedisStore(SinkUnavailableError("away")), Log("RR")
    follower = follower_of(store, Told(), [])
    follower.start(log)
    await asyncio.wait_for(log.empty.wait(), 20)
    await follower.close()
    assert told == [False, True, True]


async def test_a_refusal_is_told_and_ends_the_log() -> None:
    """What another attempt cannot help goes to whoever waits for it; being stopped does not."""
    failed: list[BaseException] = []
    store, log = RedisStore(SinkError("refused")), Log("RR")
    follower = follower_of(store, Recorder(), failed)
    follower.start(log)
    await until(lambda: bool(failed))
    assert str(failed[0]) == "refused"
    follower.failed(SinkError("the group"))
    assert [str(error) for error in failed] == ["refused", "the group"]
    await follower.close()
    assert log.asked == []

    failed.clear()
    follower = follower_of(RedisStore(), Recorder(), failed)
    log = Log("RR")
    follower.start(log)
    await asyncio.wait_for(log.empty.wait(), 20)
    await follower.close()
    assert failed == []
