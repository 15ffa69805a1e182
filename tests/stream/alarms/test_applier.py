"""Runs of results become states and events, each result once, whatever becomes of a write."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from patchline.engine.types import Verdict
from patchline.stream.alarms.applier import AlarmApplier, is_known, mark
from patchline.stream.alarms.config import AlarmLimits
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.alarms.written import Advance, WriteAnswer, Written
from patchline.stream.model.alarm import Alarm, AlarmConfig, AlarmEvent, AlarmRules, AlarmState, Observation
from patchline.stream.model.errors import AlarmGap, SinkUnavailableError
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
        self.refused: set[str] = set()
        self.loads: list[str] = []
        self.writes: list[tuple[list[StoredAlarm], list[AlarmEvent], Advance]] = []

    async def position(self, log: str) -> int | None:
        assert log == "log"
        return self.at

    async def load(self, camera: str) -> StoredAlarm:
        self.loads.append(camera)
        return self.alarms.get(camera, StoredAlarm(Alarm(camera=camera)))

    async def load_all(self, cameras: Sequence[str]) -> list[StoredAlarm]:
        return [await self.load(camera) for camera in cameras]

    async def cameras(self) -> list[str]:
        return sorted(self.alarms)

    async def write(self, states: Sequence[StoredAlarm], events: Sequence[AlarmEvent], advance: Advance) -> WriteAnswer:
        self.writes.append((list(states), list(events), advance))
        answer = self.script.pop(0) if self.script else "written"
        if answer == "away":
            raise SinkUnavailableError("away")
        if answer not in ("written", "lost"):
            return WriteAnswer(Written(answer))
        if advance.before != self.at:
            return WriteAnswer(Written.MOVED)
        self.at = advance.after
        self.alarms |= {state.alarm.camera: state for state in states if state.alarm.camera not in self.refused}
        if answer == "lost":
            raise SinkUnavailableError("the answer is lost")
        return WriteAnswer(Written.WRITTEN, frozenset(self.refused))


def applier_of(store: Store, told: Recorder | None = None, **cameras: AlarmConfig) -> AlarmApplier:
    own = {name.replace("_", "-"): config for name, config in cameras.items()}
    rules = AlarmRules(general=AlarmConfig(k=2, n=4, m=2), cameras=own)
    return AlarmApplier("log", cast(AlarmStore, store), rules, AlarmLimits(max_cameras=3), told or Recorder())


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
    assert set(applier.seen) == {"cam-1"}
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
        ("frames|1|4|+4|id", True),
        ("frames|1|4|+4|id|5", False),
        ("", False),
    ],
)
def test_a_frame_is_known_by_its_offset_unless_it_was_taken_later(last: str, known: bool) -> None:
    """The offset and time at the bound are known; another partition's, a later time and other text say nothing."""
    last = last.replace("+4", str(START.timestamp() + 4)).replace("+3", str(START.timestamp() + 3))
    last = last.replace("+5", str(START.timestamp() + 5))
    assert is_known(seen("P", 4), last) is known


def test_a_topic_made_anew_is_another_whatever_the_time_of_its_frames() -> None:
    """Where both ids are known; frames that are sent again have their old times."""
    frame = seen("P", 4)
    assert frame.position is not None
    old, new = (replace(frame, position=replace(frame.position, topic_id=name)) for name in ("old", "new"))
    noted = mark(old, "")
    assert noted == f"frames|1|4|{START.timestamp() + 4}|old"
    assert is_known(old, noted)
    assert is_known(frame, noted), "a result that was written before ids were"
    assert not is_known(new, noted)
    assert mark(new, noted) == f"frames|1|4|{START.timestamp() + 4}|new"


def test_a_frame_without_a_position_is_known_by_its_id() -> None:
    """Only the last one is."""
    assert is_known(seen("P", 4, replayable=False), "cam-1/4")
    assert not is_known(seen("P", 4, replayable=False), "cam-1/3")


NOW = datetime.now(UTC)
AHEAD = NOW + timedelta(days=30_000)


def dated(number: int, time: datetime) -> Observation:
    return replace(seen("P", number), time=time)


def test_a_time_ahead_of_every_clock_is_not_kept_and_hides_nothing() -> None:
    """One frame is dated 2099: the topic is made anew, and frames taken a little later are new all the same."""
    kept = mark(dated(1000, AHEAD), "frames|1|999|0.0")
    assert float(kept.rpartition("|")[2]) <= (datetime.now(UTC) + timedelta(seconds=61)).timestamp()
    assert is_known(dated(1000, AHEAD), kept), "the same frame again counts once"
    at = NOW + timedelta(seconds=20)
    assert not is_known(dated(3, at), f"frames|1|1000|{(at - timedelta(seconds=1)).timestamp()}")
    assert not is_known(dated(1001, AHEAD), kept)


@pytest.mark.parametrize("time", ["4102444800.0", "1e300", "inf", "nan"])
def test_a_time_ahead_that_redis_already_has_is_not_believed(time: str) -> None:
    """An earlier release, or somebody else, wrote it there."""
    assert not is_known(dated(3, datetime.now(UTC)), f"frames|1|1000|{time}")
    kept = float(mark(dated(3, NOW), f"frames|1|1000|{time}").rpartition("|")[2])
    assert kept == NOW.timestamp()


async def test_cameras_beyond_the_bound_have_no_alarm_and_are_counted() -> None:
    """Their events are not told, their results are, and no memory of them stays."""
    store, told = Store(), Recorder()
    store.refused = {"junk-1", "junk-2"}
    applier = applier_of(store, told)
    run = [*run_of("RR"), *run_of("RR", camera="junk-1"), *run_of("R", camera="junk-2")]
    assert await applier.apply(run, None, 5)
    assert [(event.camera, event.change.value) for event in told.alarm_events] == [("cam-1", "raised")]
    assert told.alarm_gaps == {AlarmGap.TOO_MANY_CAMERAS: 3}
    assert set(applier.seen) == {"cam-1"} == set(applier._known) == set(applier._written)
    store.refused = {f"junk-{number}" for number in range(100)}
    assert await applier.apply([seen("R", 0, camera=camera) for camera in sorted(store.refused)], 5, 105)
    assert len(applier._known) <= 3
    assert told.alarm_states == {"cam-1": AlarmState.NORMAL}


async def test_what_redis_lost_is_written_again_where_the_log_cannot_bring_it_back() -> None:
    """States and position stand again, with fresh versions; where the log can, it is left to it."""
    store, told = Store(), Recorder()
    applier = applier_of(store, told)
    assert await applier.apply(run_of("RR"), None, 2)
    before = store.alarms["cam-1"].alarm
    store.alarms.clear()
    store.at = None
    assert await applier.position() is None
    assert store.alarms == {}
    assert await applier.position(restores=True) == 2
    assert (store.alarms["cam-1"].alarm, store.alarms["cam-1"].version) == (before, 1)
    assert len(told.alarm_events) == 1
    assert await applier.apply(run_of("PP", first=2), 2, 4)
    assert [event.change.value for event in told.alarm_events] == ["raised", "returned"]
    fresh = applier_of(Store())
    assert await fresh.position(restores=True) is None


async def test_a_line_that_stands_still_learns_what_others_did() -> None:
    """Redis stands elsewhere; an alarm was cleared by a call; a camera was forgotten."""
    store, told = Store(), Recorder()
    applier = applier_of(store, told)
    assert await applier.apply([*run_of("RR"), *run_of("P", camera="cam-2")], None, 3)
    assert await applier.stands_at(3)
    assert not await applier.stands_at(2)
    store.alarms["cam-1"] = StoredAlarm(Alarm(camera="cam-1"), 2)
    del store.alarms["cam-2"]
    await applier.look_at_states()
    assert told.alarm_states == {"cam-1": AlarmState.NORMAL, "cam-2": None}
    applier.leave()
    assert told.alarm_states == {"cam-1": None, "cam-2": None}
