"""The follower with a scripted log and a scripted Redis: what is asked, in which order, and what is told."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from patchline.stream.alarms.config import AlarmLimits
from patchline.stream.alarms.follower import IDLE_LOOK_EVERY_S, AlarmFollower
from patchline.stream.alarms.logs import IDLE_WAIT_S
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import AlarmConfig, AlarmRules, Observation
from patchline.stream.model.errors import SinkError, SinkUnavailableError
from tests.stream.alarms.test_applier import Store, run_of
from tests.stream.scripted import Recorder
from tests.stream.waiting import until

RULES = AlarmRules(general=AlarmConfig(k=2, n=4, m=2))


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
    rebuilds = True

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
    return AlarmFollower(cast(AlarmStore, store), RULES, AlarmLimits(), seen, failed.append)


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


class IdleLog(Log):
    """As `Log`, but where it is at its end there is nothing new, again and again."""

    def __init__(self, script: str, *, rebuilds: bool = True) -> None:
        super().__init__(script)
        self.nothing = 0
        self.rebuilds = rebuilds

    async def read(self) -> tuple[Sequence[Observation], int | None]:
        if self.at >= len(self.frames):
            await asyncio.sleep(0.01)
            return [], None
        return await super().read()


@pytest.mark.parametrize("rebuilds", [True, False])
async def test_what_redis_loses_comes_back_while_the_line_stands_still(
    rebuilds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame comes: the log is read again from its beginning, or what was written is written again."""
    monkeypatch.setattr("patchline.stream.alarms.follower.IDLE_LOOK_EVERY_S", 0.02)
    store, log, seen = RedisStore(), IdleLog("RRPP", rebuilds=rebuilds), Recorder()
    follower = follower_of(store, seen, [])
    follower.start(log)
    await until(lambda: store.at == 4)
    before, told = store.alarms["cam-1"].alarm, len(seen.alarm_events)
    store.alarms.clear()
    store.at = None
    await until(lambda: store.at == 4)
    assert store.alarms["cam-1"].alarm == before
    assert len(seen.alarm_events) == (2 * told if rebuilds else told)
    assert log.asked.count(("begin", None)) == (2 if rebuilds else 1)
    await follower.close()


async def test_every_wait_for_results_ends_with_a_look_at_redis() -> None:
    """So a Redis that lost everything is noticed within one wait, whatever the clock's last digit."""
    assert IDLE_LOOK_EVERY_S < IDLE_WAIT_S
    asked = 0

    class Counting(RedisStore):
        async def position(self, log: str) -> int | None:
            nonlocal asked
            asked += 1
            return await super().position(log)

    class Waiting(Log):
        reads = 0

        async def read(self) -> tuple[Sequence[Observation], int | None]:
            self.reads += 1
            await asyncio.sleep(IDLE_WAIT_S)
            return [], None

    store, log = Counting(), Waiting("")
    follower = follower_of(store, Recorder(), [])
    follower.start(log)
    await until(lambda: log.reads == 5)
    assert asked == 5  # once to begin, and after each wait that has ended
    await follower.close()
