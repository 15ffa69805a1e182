import asyncio
from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline.stream.inspection.batcher import Batcher
from patchline.stream.model.errors import AbortedError

Item = TypeVar("Item")


class Work(Generic[Item]):
    """Answers each item with itself, after some turns of the loop; batches named in `failing` raise."""

    def __init__(self, turns: Sequence[int] = (), failing: Collection[int] = ()) -> None:
        self.batches: list[list[Item]] = []
        self._turns, self._failing = list(turns), set(failing)
        self._serial = asyncio.Lock()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: Sequence[Item]) -> Sequence[Item]:
        number = len(self.batches)
        self.batches.append(list(items))
        async with self._serial:
            for _ in range(self._turns[number % len(self._turns)] if self._turns else 0):
                await asyncio.sleep(0)
            await self.gate.wait()
        if number in self._failing:
            raise RuntimeError(f"batch {number}")
        return items


@settings(max_examples=150)
@given(
    script=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=60),
    size=st.integers(1, 7),
    slots=st.integers(1, 3),
    capacity=st.integers(1, 9),
    turns=st.lists(st.integers(0, 5), max_size=5),
    failing=st.sets(st.integers(0, 6)),
    cancelled=st.sets(st.integers(0, 59), max_size=5),
)
def test_every_item_is_settled_once_and_cameras_keep_their_order(
    script: list[tuple[int, int]],
    size: int,
    slots: int,
    capacity: int,
    turns: list[int],
    failing: set[int],
    cancelled: set[int],
) -> None:
    """Whatever the timing, failures and cancellations: nothing lost, doubled, or out of order within a camera."""

    async def play() -> tuple[list[tuple[int, int] | BaseException], Work[tuple[int, int]]]:
        work = Work[tuple[int, int]](turns, failing)
        batcher = Batcher(work, size=size, slots=slots, linger_s=0.001, capacity=max(size, capacity))
        running = asyncio.create_task(batcher.run())
        submitted = []
        for number, (camera, pause) in enumerate(script):
            submitted.append(asyncio.create_task(batcher.submit((camera, number))))
            for _ in range(pause):
                await asyncio.sleep(0)
            if number in cancelled:
                submitted[number].cancel()
        answers = await asyncio.gather(*submitted, return_exceptions=True)
        batcher.close()
        await running
        return answers, work

    answers, work = asyncio.run(play())
    worked = [item for batch in work.batches for item in batch]
    assert len(worked) == len(set(worked))
    assert all(0 < len(batch) <= size for batch in work.batches)
    for camera in range(4):
        order = [item[1] for item in worked if item[0] == camera]
        assert order == sorted(order)
    batch_of = {item: number for number, batch in enumerate(work.batches) for item in batch}
    for number, ((camera, _), answer) in enumerate(zip(script, answers, strict=True)):
        item = (camera, number)
        if number in cancelled and isinstance(answer, asyncio.CancelledError):
            continue
        if batch_of[item] in failing:
            assert str(answer) == f"batch {batch_of[item]}"
        else:
            assert answer == item


async def test_an_item_goes_beside_others_where_a_place_is_idle() -> None:
    """Of two slots one is idle while one item is worked on; a third item waits for either to be answered."""
    gate, batches = asyncio.Event(), []

    async def work(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        await gate.wait()
        return items

    batcher = Batcher(work, size=4, slots=2, linger_s=0.001, capacity=10)
    running = asyncio.create_task(batcher.run())
    answers = []
    for number in range(3):
        answers.append(asyncio.create_task(batcher.submit(number)))
        await asyncio.sleep(0.05)
    assert batches == [[0], [1]]
    gate.set()
    assert await asyncio.gather(*answers) == [0, 1, 2]
    assert batches == [[0], [1], [2]]
    batcher.close()
    await running


async def test_a_full_batch_closes_at_once_and_a_lone_item_after_the_linger() -> None:
    """Size closes a batch without waiting; without company an item goes when its linger is over."""
    work = Work[int]()
    batcher = Batcher(work, size=3, linger_s=3600, capacity=10)
    running = asyncio.create_task(batcher.run())
    assert await asyncio.gather(*(batcher.submit(n) for n in range(3))) == [0, 1, 2]
    lone = asyncio.create_task(batcher.submit(3))
    await asyncio.sleep(0.05)
    assert not lone.done()
    batcher.close()
    assert await lone == 3
    await running
    quick = Batcher(work, size=3, linger_s=0.01, capacity=10)
    running = asyncio.create_task(quick.run())
    assert await quick.submit(4) == 4
    quick.close()
    await running
    assert work.batches == [[0, 1, 2], [3], [4]]


async def test_what_waits_behind_a_busy_engine_fills_one_batch() -> None:
    """While a batch is worked on, half-full batches do not leave; what has gathered leaves as one."""
    gate = asyncio.Event()
    batches = []

    async def work(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        await gate.wait()
        return items

    batcher = Batcher(work, size=4, linger_s=0.001, capacity=20)
    running = asyncio.create_task(batcher.run())
    tasks = [asyncio.create_task(batcher.submit(0))]
    await asyncio.sleep(0.05)
    for number in range(1, 4):
        tasks.append(asyncio.create_task(batcher.submit(number)))
        await asyncio.sleep(0.01)
    assert batches == [[0]]
    tasks.append(asyncio.create_task(batcher.submit(4)))
    await asyncio.sleep(0.05)
    assert batches == [[0], [1, 2, 3, 4]]  # a full one is handed over ahead
    gate.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]
    batcher.close()
    await running


async def test_a_batcher_that_stops_fails_whoever_waits() -> None:
    """Cancelled in the middle, it settles the items in work, those waiting and those still to enter."""
    gate = asyncio.Event()

    async def work(items: Sequence[int]) -> Sequence[int]:
        await gate.wait()
        return items

    batcher = Batcher(work, size=2, linger_s=0, capacity=2)
    running = asyncio.create_task(batcher.run())
    tasks = [asyncio.create_task(batcher.submit(n)) for n in range(9)]
    await asyncio.sleep(0.05)
    running.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, AbortedError) for answer in answers)
    with pytest.raises(AbortedError):
        await batcher.submit(10)


async def test_urgent_lanes_go_first_and_none_starves() -> None:
    """While the engine is short an urgent lane's items wait least; the others still move, each lane in its order."""
    order: list[tuple[str, int]] = []

    async def work(items: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
        await asyncio.sleep(0.002)
        order.extend(items)
        return items

    batcher = Batcher(work, size=2, linger_s=0, capacity=100, lane=lambda item: item[0], weight=weight_of)
    running = asyncio.create_task(batcher.run())
    quiet = [asyncio.create_task(batcher.submit((f"quiet-{n % 4}", n))) for n in range(40)]
    await asyncio.sleep(0.005)
    urgent: list[asyncio.Task[tuple[str, int]]] = []
    number = 0
    while not all(task.done() for task in quiet):  # urgent items never end as long as others wait
        urgent.append(asyncio.create_task(batcher.submit(("alarm", number))))
        number += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*urgent)
    batcher.close()
    await running
    lanes = {lane: [n for found, n in order if found == lane] for lane in {lane for lane, _ in order}}
    assert all(numbers == sorted(numbers) for numbers in lanes.values())
    first = next(place for place, (lane, _) in enumerate(order) if lane == "alarm")
    assert any(lane != "alarm" for lane, _ in order[first:]), "what came before the alarm was all done already"
    assert first < 39, "the urgent item waited for all that had come before"


async def test_without_anything_urgent_the_order_is_that_of_submission() -> None:
    """More than a batch waits: the items that came first go first, whatever their lane."""
    work = Work[int]()
    batcher = Batcher(work, size=2, linger_s=0, capacity=100, lane=lambda item: item % 3)
    submitted = [asyncio.create_task(batcher.submit(number)) for number in range(9)]
    await asyncio.sleep(0)
    running = asyncio.create_task(batcher.run())
    await asyncio.gather(*submitted)
    batcher.close()
    await running
    assert [item for batch in work.batches for item in batch] == list(range(9))


async def turns() -> None:
    """Let everything go on as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def weight_of(item: tuple[str, int]) -> float:
    return 4.0 if item[0] == "alarm" else 1.0


async def _order_of(size: int, items: Sequence[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """The batches of items that all wait before the first is made."""
    work = Work[tuple[str, int]]()
    batcher = Batcher(work, size=size, linger_s=0, capacity=100, lane=lambda item: item[0], weight=weight_of)
    submitted = [asyncio.create_task(batcher.submit(item)) for item in items]
    await asyncio.sleep(0)
    running = asyncio.create_task(batcher.run())
    await asyncio.gather(*submitted)
    batcher.close()
    await running
    return work.batches


async def test_an_urgent_lane_gets_four_places_for_one_of_another() -> None:
    """Where both have items waiting; each lane in its order."""
    items = [("a", number) for number in range(20)] + [("alarm", number) for number in range(20)]
    batches = await _order_of(10, items)
    assert [sum(lane == "alarm" for lane, _ in batch) for batch in batches] == [8, 8, 4, 0]
    for wanted in ("a", "alarm"):
        assert [number for batch in batches for lane, number in batch if lane == wanted] == list(range(20))


async def test_a_lane_that_has_much_waiting_leaves_others_their_places() -> None:
    """Thirty items of one lane came first; those of three others are in the next batches all the same."""
    items = [("many", number) for number in range(30)] + [(lane, 0) for lane in "abc"] + [("a", 1)]
    batches = await _order_of(4, items)
    assert sorted(lane for lane, _ in batches[0]) == ["a", "b", "c", "many"]
    assert ("a", 1) in batches[1]
    assert [number for batch in batches for lane, number in batch if lane == "many"] == list(range(30))


async def test_at_most_two_batches_are_handed_over_and_a_full_one_fills_no_third() -> None:
    """A third full batch waits until the first is answered."""
    work = Work[int]()
    work.gate.clear()
    batcher = Batcher(work, size=2, linger_s=0, capacity=20)
    running = asyncio.create_task(batcher.run())
    tasks = [asyncio.create_task(batcher.submit(number)) for number in range(6)]
    await turns()
    assert work.batches == [[0, 1], [2, 3]]
    assert batcher.waiting == 2
    work.gate.set()
    assert await asyncio.gather(*tasks) == list(range(6))
    assert work.batches == [[0, 1], [2, 3], [4, 5]]
    batcher.close()
    await running


async def test_items_are_worked_on_side_by_side_as_far_as_there_are_slots() -> None:
    """With three slots, three single items are not held for a full batch; the fourth is."""
    work = Work[int]()
    work.gate.clear()
    batcher = Batcher(work, size=4, slots=3, linger_s=0, capacity=20)
    running = asyncio.create_task(batcher.run())
    tasks = []
    for number in range(4):
        tasks.append(asyncio.create_task(batcher.submit(number)))
        await turns()
    assert work.batches == [[0], [1], [2]]
    work.gate.set()
    await asyncio.gather(*tasks)
    batcher.close()
    await running


async def test_an_item_whose_submitter_has_gone_is_thrown_away() -> None:
    """Wherever it stands it takes no place in a batch, makes room, and the others are answered."""
    work, closed = Work[int](), list[tuple[list[int], int]]()
    batcher = Batcher(
        work,
        size=4,
        linger_s=0,
        capacity=3,
        on_close=lambda items, waited_s: closed.append((list(items), sum(0 <= s < 60 for s in waited_s))),
    )
    tasks = [asyncio.create_task(batcher.submit(number)) for number in range(5)]
    await turns()
    assert batcher.waiting == 3
    tasks[0].cancel()
    tasks[2].cancel()
    await turns()
    running = asyncio.create_task(batcher.run())
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [each for each in answers if not isinstance(each, asyncio.CancelledError)] == [1, 3, 4]
    assert sorted(item for batch in work.batches for item in batch) == [1, 3, 4]
    assert [count for _, count in closed] == [len(items) for items, _ in closed]
    batcher.close()
    await running


async def test_closing_lets_no_one_linger() -> None:
    """What waits for others is batched at once; nothing more is taken, and `run` ends."""
    work = Work[int]()
    batcher = Batcher(work, size=4, linger_s=60, capacity=4)
    running = asyncio.create_task(batcher.run())
    task = asyncio.create_task(batcher.submit(1))
    await turns()
    assert work.batches == []
    batcher.close()
    async with asyncio.timeout(10):
        assert await task == 1
        await running
    with pytest.raises(AbortedError, match="takes no more"):
        await batcher.submit(2)
