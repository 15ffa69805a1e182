"""Frames are read shortly before the engine can take them."""

import asyncio
import time
from contextlib import ExitStack
from math import inf

import pytest

from patchline.stream.pipeline import pace as pace_module
from patchline.stream.pipeline.pace import Pace
from tests.stream.waiting import Clock

BATCH_S = 0.2


async def _engine(pace: Pace) -> None:
    with pace.inspecting(2):
        await asyncio.sleep(BATCH_S)
    pace.judged()
    pace.judged()


async def _read(pace: Pace) -> float:
    """Seconds until the next frame is read."""
    begin = time.monotonic()
    await pace.wait()
    pace.read()
    return time.monotonic() - begin


@pytest.mark.parametrize(("longest_s", "waits"), [(0.05, True), (10.0, False), (None, False)])
async def test_the_next_batch_is_read_shortly_before_the_engine_is_free(longest_s: float | None, waits: bool) -> None:
    """Its second frame at once: it waits no longer. The batch after it is not read yet."""
    pace = Pace(longest_s, batch_size=2)
    assert max([await _read(pace), await _read(pace)]) < 0.1, "nothing is known of the engine yet"
    await _engine(pace)
    await _read(pace)
    await _read(pace)
    working = asyncio.create_task(_engine(pace))
    await asyncio.sleep(0)
    first_s, second_s = await _read(pace), await _read(pace)
    assert (first_s > BATCH_S / 2) == waits
    assert second_s < 0.1
    if waits:
        assert not working.done()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pace.wait(), BATCH_S / 2)
    await working


async def test_a_frame_that_the_engine_never_sees_makes_room_for_the_next() -> None:
    """One that cannot be read, say."""
    pace = Pace(0.01, batch_size=1)
    pace.read()
    with pace.inspecting(1):
        await asyncio.sleep(0.05)
    pace.judged()
    pace.read()
    reading = asyncio.create_task(_read(pace))
    await asyncio.sleep(0.02)
    assert not reading.done()
    pace.judged()
    assert await reading < 1


def test_a_batch_begins_where_those_before_it_are_full() -> None:
    """Frames that the engine has, or has judged, count no more; those that wait fill the next batch."""
    pace = Pace(None, batch_size=2)
    begins = []
    for _ in range(4):
        begins.append(pace.begins_batch)
        pace.read()
    assert begins == [True, False, True, False]
    pace.read()
    with pace.inspecting(2):
        assert not pace.begins_batch
        pace.read()
        assert pace.begins_batch


async def test_one_batch_is_read_before_anything_is_known_of_the_engine() -> None:
    """Its first batch may take seconds, and the frames behind it would have waited for longer than they may."""
    pace = Pace(10.0, batch_size=2)
    await _read(pace)
    await _read(pace)
    reading = asyncio.create_task(_read(pace))
    await asyncio.sleep(0.05)
    assert not reading.done()
    await _engine(pace)
    assert await reading < 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pace_module, "monotonic", made)
    return made


def test_a_frame_waits_for_the_batches_before_it(clock: Clock) -> None:
    """The rest of the batch under way, at what a frame has taken so far, and whole batches that wait before it."""
    pace = Pace(0.0, batch_size=2)
    pace.read()
    assert pace._expected_wait_s() == 0
    pace.read()
    assert pace._expected_wait_s() == float("inf"), "nothing is known, and it would be in the second batch"
    with pace.inspecting(2):
        clock.now_s += 0.4
    assert pace._expected_wait_s() == pytest.approx(0.4)
    for _ in range(3):
        pace.read()
    assert pace._expected_wait_s() == pytest.approx(2 * 2 * 0.2)
    with pace.inspecting(2):
        assert pace._expected_wait_s() == pytest.approx(0.4 + 2 * 0.2)
        clock.now_s += 0.1
        assert pace._expected_wait_s() == pytest.approx(0.3 + 2 * 0.2)
        clock.now_s += 1.0
        assert pace._expected_wait_s() == pytest.approx(2 * 0.2), "it should have been free by now"
    for _ in range(2):
        pace.judged()
    frame_s = 0.2 + (0.55 - 0.2) * 0.2
    assert pace._expected_wait_s() == pytest.approx(2 * frame_s)


def test_a_batch_handed_over_ahead_begins_when_the_one_before_it_is_answered(clock: Clock) -> None:
    """What a frame takes is counted from that answer on; until then both batches are before whatever comes."""
    pace = Pace(0.0, batch_size=2)
    with pace.inspecting(2):
        clock.now_s += 0.4
    first, second = pace.inspecting(2), pace.inspecting(2)
    for _ in range(4):
        pace.read()
    first.__enter__()
    clock.now_s += 0.1
    second.__enter__()
    assert pace._expected_wait_s() == pytest.approx(0.7)
    clock.now_s += 0.5
    first.__exit__(None, None, None)
    frame_s = 0.2 + (0.3 - 0.2) * 0.2
    pace.judged()
    pace.judged()
    assert pace._expected_wait_s() == pytest.approx(2 * frame_s)
    clock.now_s += 0.4
    second.__exit__(None, None, None)
    frame_s += (0.2 - frame_s) * 0.2
    assert pace._expected_wait_s() == pytest.approx(2 * frame_s)


async def test_an_answer_wakes_whoever_waits_to_read(clock: Clock) -> None:
    """A frame that is expected to wait for exactly the longest is read."""
    pace = Pace(0.4, batch_size=2)
    pace.read()
    pace.read()
    waiting = asyncio.create_task(pace.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    with pace.inspecting(2):
        clock.now_s += 0.5
    pace.judged()
    await asyncio.wait_for(waiting, 10)
    pace = Pace(0.5, batch_size=1)
    with pace.inspecting(1):
        clock.now_s += 0.5
    pace.read()
    await asyncio.wait_for(pace.wait(), 0.1)


async def test_a_frame_that_waits_for_something_else_is_not_waited_for() -> None:
    """Frames that wait for storage are no reason to read others later."""
    pace = Pace(0.01, batch_size=1)
    pace.read()
    with pace.inspecting(1):
        await asyncio.sleep(0.02)
    pace.judged()
    for _ in range(50):
        pace.read()
    with ExitStack() as aside:
        for _ in range(50):
            aside.enter_context(pace.aside())
        assert pace.begins_batch
        async with asyncio.timeout(5):
            await pace.wait()
    assert pace._undecided == 50


def early_s(pace: Pace, share: float = 1.0) -> float:
    return pace._live_early_s(0.02, lambda _: share)


def test_live_pictures_are_taken_shortly_before_the_engine_is_free(clock: Clock) -> None:
    """A quarter of the time of a batch before; at once while a slot is idle, and never more than a batch of them."""
    pace = Pace(None, batch_size=4)
    assert early_s(pace) == 0
    for _ in range(4):
        pace.read(live=True)
    assert early_s(pace) == inf
    with pace.inspecting(4, 4):
        assert early_s(pace) == inf, "nothing is known of the engine yet"
        clock.now_s += 4.0
    for _ in range(4):
        pace.judged(live=True)
    assert early_s(pace) == 0
    for _ in range(4):
        pace.read(live=True)
    with pace.inspecting(4, 4):
        assert early_s(pace) == pytest.approx(3.0)
        clock.now_s += 3.0
        assert early_s(pace) <= 0
        for _ in range(4):
            pace.read(live=True)
        assert early_s(pace) == inf


def test_beside_others_live_pictures_have_their_share_of_the_next_batch(clock: Clock) -> None:
    """Which closes a batch sooner: others fill one that is handed over ahead."""
    pace = Pace(None, batch_size=4)
    pace.read(live=True)
    with pace.inspecting(1, 1):
        clock.now_s += 1.0
    pace.judged(live=True)
    for _ in range(12):
        pace.read()
    with pace.inspecting(4), pace.inspecting(4):
        assert early_s(pace, 0.5) == pytest.approx(8.0 - 4.0 - 1.0)
        pace.read(live=True)
        assert early_s(pace, 0.5) < inf
        pace.read(live=True)
        assert early_s(pace, 0.5) == inf
        assert early_s(pace, 1.0) < inf
