"""Runs of results become states and events, each result once, whatever becomes of a write."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from patchline.engine.types import Verdict
from patchline.stream.alarms.applier import AlarmApplier, is_known, mark
from patchline.stream.alarms.store import Advance, AlarmStore, Written
from patchline.stream.model.alarm import Alarm, AlarmConfig, AlarmEvent, AlarmState, Observation
from patchline.stream.model.errors import SinkUnavailableError
from patchline.stream.model.frame import Position
from patchline.stream.wire.alarms import StoredAlarm
from tests.stream.scripted import Recorder

START = datetime(2026, 1, 1, tzinfo=UTC)


def seen(
    letter: str, number: int, *, camera: str = "cam-1", replayable: bool = True, later_s: float = 0
) -> Observation:
    return Observation(
        camera=camera,
        frame_id=f"{camera}/{number}",
        verdict=Verdict.REJECT if letter == "R" else Verdict.PASS,
        time=START + timedelta(seconds=number + later_s),
        position=Position("frames", 1, number) if replayable else None,
    )


def run_of(script: str, *, first: int = 0, camera: str = "cam-1", replayable: bool = True) -> list[Observation]:
    return [seen(letter, n, camera=camera, replayable=replayable) for n, letter in enumerate(script, first)]


class Store:
    """What Redis would do, with answers that can be scripted: "lost" writes and then is away, "away" writes nothing."""

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.alarms: dict[str, StoredAlarm] = {}
        self.at: int | None = None
        self.loads: list[str] = []
        self.writes: list[tuple[list[StoredAlarm], list[AlarmEvent], Advance]] = []

    async def position(self, log: str) -> int | None:
        assert log == "log"
        return self.at

    async def load(self, camera: str) -> StoredAlarm:
        self.loads.append(camera)
        return self.alarms.get(camera, StoredAlarm(Alarm(camera=camera)))

    async def write(self, states: Sequence[StoredAlarm], events: Sequence[AlarmEvent], advance: Advance) -> Written:
        self.writes.append((list(states), list(events), advance))
        answer = self.script.pop(0) if self.script else "written"
        if answer == "away":
            raise SinkUnavailableError("away")
        if answer not in ("written", "lost"):
            return Written(answer)
        if advance.before != self.at:
            return Written.MOVED
        self.at = advance.after
        self.alarms |= {state.alarm.camera: state for state in states}
        if answer == "lost":
            raise SinkUnavailableError("the answer is lost")
        return Written.WRITTEN


def applier_of(store: Store, told: Recorder | None = None, **cameras: AlarmConfig) -> AlarmApplier:
    rule = AlarmConfig(k=2, n=4, m=2)
    rules = {name.replace("_", "-"): config for name, config in cameras.items()}
    return AlarmApplier("log", cast(AlarmStore, store), rule, rules, told or Recorder())


def changes(told: Recorder) -> list[tuple[str, str | None]]:
    return [(event.change.value, event.frame_id) for event in told.alarm_events]


async def test_a_run_is_written_with_its_position_and_told() -> None:
    """States have the next version and the last frame's mark; what was written need not be read again."""
    store, told = Store(), Recorder()
    applier = applier_of(store, told)
    assert await applier.apply(run_of("RR"), None, 2)
    (states, events, advance), *_ = store.writes
    assert advance == Advance("log", None, 2)
    assert [(s.version, s.last, s.alarm.window) for s in states] == [
        (1, f"frames|1|1|{(START + timedelta(seconds=1)).timestamp()}", "RR")
    ]
    assert changes(told) == [("raised", "cam-1/1")]
    assert told.alarm_events == events
    assert told.alarm_states == {"cam-1": AlarmState.NORMAL}
    assert applier.seen == {"cam-1"}
    assert await applier.apply(run_of("PP", first=2), 2, 4)
    assert store.loads == ["cam-1"]
    assert store.alarms["cam-1"].version == 2
    assert changes(told) == [("raised", "cam-1/1"), ("returned", "cam-1/3")]


async def test_only_cameras_that_a_run_changes_are_written_and_each_has_its_own_rule() -> None:
    """Where all of a camera's frames are known nothing is written for it; events keep the run's order."""
    store, told = Store(), Recorder()
    applier = applier_of(store, told, cam_2=AlarmConfig(k=1, n=1, m=1))
    assert await applier.apply(run_of("P"), None, 1)
    run = [seen("R", 0), seen("R", 7, camera="cam-2"), seen("P", 8, camera="cam-2")]
    assert await applier.apply(run, 1, 4)
    assert [state.alarm.camera for state in store.writes[1][0]] == ["cam-2"]
    assert changes(told) == [("raised", "cam-2/7"), ("returned", "cam-2/8")]
    assert store.alarms["cam-1"].alarm.window == "P"


@pytest.mark.parametrize("replayable", [True, False])
async def test_a_frame_counts_once_within_a_run_and_after_it(replayable: bool) -> None:
    """A delivery that is made again, whole or with more behind it, adds only what is new."""
    store = Store()
    applier = applier_of(store)
    run = run_of("PPR", replayable=replayable)
    assert await applier.apply([run[0], run[1], run[0], run[1], run[2]], None, 5)
    assert store.alarms["cam-1"].alarm.window == "PPR"
    assert await applier.apply([*run, *run_of("P", first=3, replayable=replayable)], 5, 9)
    assert store.alarms["cam-1"].alarm.window == "PPRP"
    assert store.alarms["cam-1"].alarm.passes == 1


async def test_the_last_thousand_frames_without_a_position_are_remembered() -> None:
    """The one before them counts again; frames that have a position need no memory."""
    store = Store()
    applier = applier_of(store)
    assert await applier.apply(run_of("P" * 1001, replayable=False), None, 1)
    assert await applier.apply([seen("P", n, camera="cam-2") for n in range(5)], 1, 2)
    assert await applier.apply([seen("R", 1, replayable=False)], 2, 3)
    assert store.alarms["cam-1"].alarm.window == "PPPP"
    assert await applier.apply([seen("R", 0, replayable=False)], 3, 4)
    assert store.alarms["cam-1"].alarm.window == "PPPR"


async def test_whoever_asks_for_the_position_begins_anew() -> None:
    """States are read again, and ids of frames are forgotten: Redis may have come back with other data."""
    store = Store()
    applier = applier_of(store)
    assert await applier.apply(run_of("RP", replayable=False), None, 2)
    store.alarms.clear()
    store.at = 7
    assert await applier.position() == 7
    assert await applier.apply(run_of("RP", replayable=False), 7, 9)
    assert store.alarms["cam-1"].alarm.window == "RP"
    assert store.loads == ["cam-1", "cam-1"]


async def test_a_state_that_an_operator_changed_is_read_again() -> None:
    """The run is computed anew from what Redis has then, and its events are told once."""
    store, told = Store("changed"), Recorder()
    applier = applier_of(store, told)
    assert await applier.apply(run_of("RR"), None, 2)
    assert store.loads == ["cam-1", "cam-1"]
    assert len(store.writes) == 2
    assert changes(told) == [("raised", "cam-1/1")]


async def test_where_redis_stands_elsewhere_nothing_is_told_and_all_is_read_again() -> None:
    """Another worker goes on with the log."""
    store, told = Store(), Recorder()
    applier = applier_of(store, told)
    store.at = 5
    assert not await applier.apply(run_of("RR"), None, 2)
    assert changes(told) == []
    assert await applier.apply(run_of("PP", first=5), 5, 7)
    assert store.loads == ["cam-1", "cam-1"]


async def test_a_write_whose_answer_was_lost_is_found_out_and_told_once() -> None:
    """However often the answer was lost: the events are those of the attempt that was carried out."""
    store, told = Store("lost", "away"), Recorder()
    applier = applier_of(store, told)
    for _ in range(2):
        with pytest.raises(SinkUnavailableError):
            await applier.apply(run_of("RR", replayable=False), None, 2)
    assert changes(told) == []
    assert await applier.apply(run_of("RR", replayable=False), None, 2)
    assert changes(told) == [("raised", "cam-1/1")]
    assert store.alarms["cam-1"].version == 1
    assert await applier.apply(run_of("RP", first=1, replayable=False), 2, 4)
    assert store.alarms["cam-1"].alarm.window == "RRP"
    assert not await applier.apply(run_of("RR", replayable=False), None, 2), "what was told is not told again"
    assert changes(told) == [("raised", "cam-1/1")]


async def test_a_lost_answer_of_another_run_is_no_answer_to_this_one() -> None:
    """The later run's events are told, and only where Redis stands behind it."""
    store, told = Store("away", "lost"), Recorder()
    applier = applier_of(store, told)
    with pytest.raises(SinkUnavailableError):
        await applier.apply(run_of("PP"), None, 2)
    with pytest.raises(SinkUnavailableError):
        await applier.apply(run_of("PRR"), None, 3)
    assert not await applier.apply(run_of("PP"), None, 2)
    assert changes(told) == []

    store, told = Store("away", "lost"), Recorder()
    applier = applier_of(store, told)
    with pytest.raises(SinkUnavailableError):
        await applier.apply(run_of("PP"), None, 2)
    with pytest.raises(SinkUnavailableError):
        await applier.apply(run_of("PRR"), None, 3)
    assert await applier.apply(run_of("PRR"), None, 3)
    assert changes(told) == [("raised", "cam-1/2")]


async def test_a_lost_write_is_not_taken_for_done_where_redis_stands_elsewhere() -> None:
    """Another worker wrote other results: nothing is told, and it is not asked again."""
    store, told = Store("away"), Recorder()
    applier = applier_of(store, told)
    with pytest.raises(SinkUnavailableError):
        await applier.apply(run_of("RR"), None, 2)
    store.at = 9
    assert not await applier.apply(run_of("RR"), None, 2)
    store.at = 2
    assert not await applier.apply(run_of("RR"), None, 2)
    assert changes(told) == []


def test_what_is_noted_of_the_last_frame() -> None:
    """Its position and the latest time so far, since frames come out of order of time; its id without a position."""
    at = START.timestamp()
    assert mark(seen("P", 4, replayable=False), "frames|1|3|0.0") == "cam-1/4"
    assert mark(seen("P", 4), "") == f"frames|1|4|{at + 4}"
    assert mark(seen("P", 4), f"frames|1|3|{at + 60}") == f"frames|1|4|{at + 60}"
    assert mark(seen("P", 4), f"frames|1|3|{at}") == f"frames|1|4|{at + 4}"
    assert mark(seen("P", 4), "cam-1/3") == f"frames|1|4|{at + 4}"


@pytest.mark.parametrize(
    ("last", "known"),
    [
        ("frames|1|4|+4", True),
        ("frames|1|5|+5", True),
        ("frames|1|5|+4", True),
        ("frames|1|3|+4", False),
        ("frames|1|4|+3", False),
        ("frames|2|4|+4", False),
        ("other|1|4|+4", False),
        ("cam-1/4", False),
        ("frames|1|x|+4", False),
        ("frames|1|4", False),
        ("frames|1|4|+4|5", False),
        ("", False),
    ],
)
def test_a_frame_is_known_by_its_offset_unless_it_was_taken_later(last: str, known: bool) -> None:
    """The offset and time at the bound are known; another partition's, a later time and other text say nothing."""
    last = last.replace("+4", str(START.timestamp() + 4)).replace("+3", str(START.timestamp() + 3))
    last = last.replace("+5", str(START.timestamp() + 5))
    assert is_known(seen("P", 4), last) is known


def test_a_frame_without_a_position_is_known_by_its_id() -> None:
    """Only the last one is."""
    assert is_known(seen("P", 4, replayable=False), "cam-1/4")
    assert not is_known(seen("P", 4, replayable=False), "cam-1/3")
