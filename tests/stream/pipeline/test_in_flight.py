import asyncio
from contextlib import ExitStack

import numpy as np
import pytest

from patchline.stream.model.frame import Frame, LaneKey, Position
from patchline.stream.pipeline.in_flight import InFlightBudget
from tests.stream.scripted import frame


async def has_room(budget: InFlightBudget) -> bool:
    """Whether a source would read now."""
    waiting = asyncio.ensure_future(budget.wait())
    await asyncio.sleep(0)
    found = waiting.done()
    waiting.cancel()
    return found


async def test_sources_wait_while_so_many_frames_are_in_flight() -> None:
    """At the bound nothing more is read; once a frame is given back there is room again."""
    budget = InFlightBudget(2, 1000)
    first, second = frame("1", b"x"), frame("2", b"x")
    assert await has_room(budget)
    budget.take(first)
    assert await has_room(budget)
    budget.take(second)
    assert budget.frames == 2
    assert not await has_room(budget)
    budget.give(first)
    assert budget.frames == 1
    assert await has_room(budget)


async def test_sources_wait_while_so_many_bytes_are_in_flight() -> None:
    """Encoded bytes and pixels both count; the bound on frames alone would let more in."""
    budget = InFlightBudget(100, 1000)
    encoded, pixels = frame("1", b"x" * 400), frame("2", image=np.zeros((10, 20, 3), np.uint8))
    budget.take(encoded)
    assert await has_room(budget)
    budget.take(pixels)
    assert not await has_room(budget)
    budget.give(encoded)
    assert await has_room(budget)
    budget.take(frame("3", b"x" * 399))
    assert await has_room(budget)
    budget.take(frame("4", b"x"))
    assert not await has_room(budget)


async def test_one_frame_may_be_larger_than_the_bound() -> None:
    """It is let in alone, and what comes after it waits until it has left."""
    budget = InFlightBudget(100, 1000)
    large = frame("1", b"x" * 5000)
    budget.take(large)
    assert not await has_room(budget)
    waiting = asyncio.create_task(budget.wait())
    await asyncio.sleep(0)
    budget.give(large)
    await asyncio.wait_for(waiting, 10)
    assert budget.frames == 0


def of_lane(number: int, offset: int, payload: bytes = b"") -> Frame:
    return frame(f"{number}/{offset}", payload, position=Position("frames", number, offset))


def test_lanes_that_wait_never_take_the_last_room() -> None:
    """However many they are, and one after another: each is held once it has as much as is left; the others go on."""
    told: list[frozenset[LaneKey]] = []
    budget = InFlightBudget(64, 10**6, told.append)
    taken = []
    with ExitStack() as waiting:
        for number in range(6):
            lane = ("frames", number)
            offset = 0
            while lane not in budget.held and offset < 100:
                one = of_lane(number, offset)
                budget.take(one)
                waiting.enter_context(budget.waiting(one))
                offset += 1
            taken.append(offset)
        assert taken == [32, 16, 8, 4, 2, 1]
        assert budget.frames == 63
        assert told[-1] == budget.held == {("frames", number) for number in range(6)}
        other = of_lane(9, 0)
        budget.take(other)
        assert ("frames", 9) not in budget.held
        budget.give(other)
    assert told[-1] == budget.held == frozenset()


def test_a_lane_is_held_for_its_bytes_too_and_for_what_is_behind_the_one_that_waits() -> None:
    """Frames behind one that waits cannot leave before it; once there is room again the lane is read again."""
    budget = InFlightBudget(64, 1000)
    waits, behind = of_lane(0, 0), of_lane(0, 1, bytes(600))
    budget.take(waits)
    with budget.waiting(waits):
        assert budget.held == frozenset()
        budget.take(behind)
        assert budget.held == {("frames", 0)}
    assert budget.held == frozenset()
    with budget.waiting(waits):
        assert budget.held == {("frames", 0)}
        budget.give(behind)
        assert budget.held == frozenset()
    budget.give(waits)
    assert budget._shares == budget._waiting == {}


def test_a_lane_of_which_no_frame_waits_takes_all_room() -> None:
    """As ever."""
    budget = InFlightBudget(8, 1000)
    for offset in range(8):
        budget.take(of_lane(0, offset))
    assert (budget.frames, budget.held) == (8, frozenset())


async def test_some_room_is_kept_for_live_cameras() -> None:
    """Others are not read while only that is left, and live ones are until nothing is."""
    budget = InFlightBudget(4, 1000)
    budget.keep_for_live(2)
    for number in range(2):
        budget.take(frame(f"f{number}", b"x" * 10, position=Position("frames", 0, number)))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(budget.wait(), 0.01)
    await asyncio.wait_for(budget.wait(live=True), 1)
    for number in range(2):
        budget.take(frame(f"l{number}", b"x" * 10))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(budget.wait(live=True), 0.01)
    bytes_alone = InFlightBudget(4, 1000)
    bytes_alone.keep_for_live(2)
    bytes_alone.take(frame("large", b"x" * 500))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bytes_alone.wait(), 0.01)
    await asyncio.wait_for(bytes_alone.wait(live=True), 1)
