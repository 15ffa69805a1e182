"""Live cameras take turns, and their pictures are taken as late as may be."""

import asyncio
from collections import Counter

import pytest

from patchline.stream.pipeline.live_turns import LiveTurns


class Room:
    """Lets so many pictures through as it is told to."""

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(0)
        self.granted = 0
        self.unused = 0

    async def __call__(self) -> None:
        await self.places.acquire()

    def take(self) -> None:
        self.granted += 1

    def leave(self) -> None:
        self.unused += 1

    def turns(self, urgent: str = "") -> LiveTurns:
        return LiveTurns(
            self, granted=self.take, unused=self.leave, weight=lambda camera: 4.0 if camera == urgent else 1.0
        )


async def _settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("urgent", "expected"), [("", {"a": 20, "b": 20, "c": 20}), ("a", {"a": 40, "b": 10, "c": 10})]
)
async def test_cameras_that_always_wait_have_their_shares(urgent: str, expected: dict[str, int]) -> None:
    """Equal ones, or four turns of an urgent camera for one of each other."""
    room, given = Room(), Counter[str]()
    turns = room.turns(urgent)
    running = asyncio.create_task(turns.run())

    async def camera(name: str) -> None:
        while True:
            await turns.wait(name)
            given[name] += 1

    cameras = [asyncio.create_task(camera(name)) for name in "abc"]
    for _ in range(60):
        await _settled()
        room.places.release()
    await _settled()
    assert given == expected
    assert room.granted == 60
    for task in (running, *cameras):
        task.cancel()


async def test_nobody_has_a_turn_before_there_is_room() -> None:
    """Nor is any given to one who has gone meanwhile."""
    room = Room()
    turns = room.turns()
    running = asyncio.create_task(turns.run())
    gone, stays = asyncio.create_task(turns.wait("gone")), asyncio.create_task(turns.wait("stays"))
    await _settled()
    assert not stays.done()
    assert turns.waiting == 2
    gone.cancel()
    await _settled()
    room.places.release()
    await _settled()
    assert stays.done()
    assert (room.granted, room.unused, turns.waiting) == (1, 0, 0)
    running.cancel()


async def test_a_turn_that_was_given_to_one_who_goes_is_told_as_unused() -> None:
    """Its place is free again."""
    room = Room()
    turns = room.turns()
    running = asyncio.create_task(turns.run())
    waiting = asyncio.create_task(turns.wait("a"))
    await asyncio.sleep(0)
    turns._waiting["a"].set_result(None)
    del turns._waiting["a"]
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert room.unused == 1
    running.cancel()
