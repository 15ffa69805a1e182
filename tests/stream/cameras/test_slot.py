import asyncio
from collections.abc import Callable

import pytest

from patchline.stream.cameras.slot import Slot


def beside(work: Callable[[], object]) -> "asyncio.Future[object]":
    """Run something on the thread that puts."""
    return asyncio.ensure_future(asyncio.to_thread(work))


async def test_the_latest_item_replaces_what_waits() -> None:
    """Who puts hears of the item that nobody will take; the newest is taken, once."""
    slot: Slot[str] = Slot(asyncio.get_running_loop())
    assert await asyncio.to_thread(slot.put_latest, "a") is None
    assert await asyncio.to_thread(slot.put_latest, "b") == "a"
    assert await slot.take() == "b"
    taking = asyncio.create_task(slot.take())
    await asyncio.sleep(0.02)
    assert not taking.done()
    assert await asyncio.to_thread(slot.put_latest, "c") is None
    assert await asyncio.wait_for(taking, 10) == "c"


async def test_items_that_all_count_wait_for_one_another() -> None:
    """The second is put only once the first was taken."""
    slot: Slot[str] = Slot(asyncio.get_running_loop())
    assert await asyncio.to_thread(slot.put_when_free, "a")
    second = beside(lambda: slot.put_when_free("b"))
    await asyncio.sleep(0.05)
    assert not second.done()
    assert await slot.take() == "a"
    assert await asyncio.wait_for(second, 10) is True
    assert await asyncio.wait_for(slot.take(), 10) == "b"


async def test_what_waits_at_the_end_may_still_be_taken() -> None:
    """Then there is nothing more, and whoever puts is told that nobody will take it."""
    slot: Slot[str] = Slot(asyncio.get_running_loop())
    await asyncio.to_thread(slot.put_latest, "a")
    slot.end()
    assert await asyncio.to_thread(slot.put_latest, "b") == "b"
    assert await asyncio.to_thread(slot.put_when_free, "b") is False
    assert await slot.take() == "a"
    assert await slot.take() is None
    assert await slot.take() is None


async def test_an_end_wakes_everybody() -> None:
    """A task that waits for an item, and a thread that waits to put one."""
    slot: Slot[str] = Slot(asyncio.get_running_loop())
    taking = asyncio.create_task(slot.take())
    await asyncio.sleep(0)
    slot.end()
    assert await asyncio.wait_for(taking, 10) is None
    full: Slot[str] = Slot(asyncio.get_running_loop())
    full.put_latest("a")
    putting = beside(lambda: full.put_when_free("b"))
    await asyncio.sleep(0.05)
    full.end()
    assert await asyncio.wait_for(putting, 10) is False


async def test_the_first_error_comes_after_the_last_item() -> None:
    """What failed later, or an end without an error, does not hide it."""
    slot: Slot[str] = Slot(asyncio.get_running_loop())
    slot.put_latest("a")
    slot.end(ValueError("first"))
    slot.end(ValueError("second"))
    slot.end()
    assert await slot.take() == "a"
    for _ in range(2):
        with pytest.raises(ValueError, match="first"):
            await slot.take()


def test_a_loop_that_has_ended_is_not_woken() -> None:
    """A reader's thread may outlive it."""
    loop = asyncio.new_event_loop()
    slot: Slot[str] = Slot(loop)
    loop.close()
    assert slot.put_latest("a") is None
    slot.end()
