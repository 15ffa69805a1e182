import asyncio

import numpy as np

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
