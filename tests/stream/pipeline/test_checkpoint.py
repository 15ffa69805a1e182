import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline.engine.types import Verdict
from patchline.stream.model.errors import LaneLostError
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.outcome import Outcome
from patchline.stream.model.result import Result
from patchline.stream.pipeline.checkpoint import Checkpoint, Lane, LaneEntry
from tests.stream.scripted import frame

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def offset_of(where: Frame | LaneEntry) -> int:
    assert where.position is not None
    return where.position.offset


def partition_of(made: Outcome) -> int:
    assert made.frame.position is not None
    return made.frame.position.partition


def outcome(partition: int, offset: int) -> Outcome:
    made = frame(f"{partition}/{offset}", b"x", position=Position("frames", partition, offset))
    result = Result(
        frame_id=made.frame_id,
        camera="c",
        recipe="r",
        time=NOW,
        inspected_at=NOW,
        verdict=Verdict.PASS,
        latency_ms=0.0,
    )
    return Outcome(frame=made, result=result)


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 2), max_size=40).flatmap(
        lambda partitions: st.tuples(st.just(partitions), st.permutations(range(len(partitions))))
    ),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.integers(1, 3),
)
def test_the_watermark_never_passes_an_unflushed_frame(
    script: tuple[list[int], list[int]], pauses: list[int], gap: int
) -> None:
    """Under any order of completion, each flush holds exactly the frames between two watermarks, in order."""
    partitions, completion = script

    async def play() -> None:
        flushed: dict[int, list[int]] = {}
        left: list[str] = []
        flushing: set[int] = set()
        count = 0

        async def flush(outcomes: Sequence[Outcome]) -> None:
            nonlocal count
            partition = partition_of(outcomes[0])
            assert partition not in flushing
            flushing.add(partition)
            for _ in range(pauses[count % len(pauses)]):
                await asyncio.sleep(0)
            count += 1
            flushing.discard(partition)
            flushed.setdefault(partition, []).extend(offset_of(o.frame) for o in outcomes)
            expected = [offset_of(entry) for entry in order[partition]]
            assert flushed[partition] == expected[: len(flushed[partition])]

        checkpoint = Checkpoint(flush, lambda o: left.append(o.result.frame_id))
        entries: list[tuple[LaneEntry, Outcome]] = []
        order: dict[int, list[LaneEntry]] = {}
        for partition in partitions:
            made = outcome(partition, gap * len(order.get(partition, [])))  # offsets may have gaps
            entry = checkpoint.arrive(made.frame)
            order.setdefault(partition, []).append(entry)
            entries.append((entry, made))
        tasks = []
        for number in completion:
            tasks.append(asyncio.create_task(checkpoint.settle(*entries[number])))
            await asyncio.sleep(0)
            for lane in checkpoint.lanes:
                if lane.watermark is not None:
                    assert lane.watermark.offset <= flushed[lane.key[1]][-1]
        await asyncio.gather(*tasks)
        for partition, expected in order.items():
            assert flushed[partition] == [offset_of(entry) for entry in expected]
        for lane in checkpoint.lanes:
            assert lane.open == 0
            assert lane.watermark is not None
            assert lane.watermark.offset == flushed[lane.key[1]][-1]
        assert sorted(left) == sorted(made.result.frame_id for _, made in entries)

    asyncio.run(play())


async def test_released_lanes_finish_or_are_abandoned() -> None:
    """What is done in time is flushed; the rest leaves without a flush, and a new lane starts clean."""
    flushed: list[str] = []
    left: list[str] = []

    async def flush(outcomes: Sequence[Outcome]) -> None:
        flushed.extend(o.result.frame_id for o in outcomes)

    checkpoint = Checkpoint(flush, lambda o: left.append(o.result.frame_id))
    done, open_ = outcome(0, 0), outcome(1, 0)
    first, second = checkpoint.arrive(done.frame), checkpoint.arrive(open_.frame)
    releasing = asyncio.create_task(checkpoint.release([("frames", 0), ("frames", 1)], 0.2))
    await asyncio.sleep(0)
    await checkpoint.settle(first, done)
    assert await releasing == [("frames", 1)]
    again = checkpoint.arrive(open_.frame)
    await checkpoint.settle(second, open_)
    assert (flushed, left) == (["0/0"], ["0/0", "1/0"])
    await checkpoint.settle(again, open_)
    assert flushed == ["0/0", "1/0"]


async def test_a_flush_that_hangs_does_not_outlive_its_lane() -> None:
    """A delivery still trying when its partition is lost is broken off."""
    left: list[str] = []

    async def flush(outcomes: Sequence[Outcome]) -> None:
        await asyncio.Event().wait()

    checkpoint = Checkpoint(flush, lambda o: left.append(o.result.frame_id))
    made = outcome(0, 0)
    settling = asyncio.create_task(checkpoint.settle(checkpoint.arrive(made.frame), made))
    await asyncio.sleep(0)
    assert await checkpoint.release([("frames", 0)], 0.05) == [("frames", 0)]
    async with asyncio.timeout(5):
        await settling
    assert left == ["0/0"]


async def test_a_lane_that_is_lost_has_no_more_results_until_it_is_given_out_anew() -> None:
    """The outcomes in flight leave without being flushed, other lanes go on, and a new owner of the lane is heard."""
    flushed: list[str] = []
    left: list[str] = []
    lost = True

    async def flush(outcomes: Sequence[Outcome]) -> None:
        if lost and partition_of(outcomes[0]) == 0:
            raise LaneLostError("scripted")
        flushed.extend(o.frame.frame_id for o in outcomes)

    checkpoint = Checkpoint(flush, lambda o: left.append(o.frame.frame_id))
    made = [outcome(0, 0), outcome(0, 1), outcome(1, 0)]
    entries = [checkpoint.arrive(each.frame) for each in made]
    for entry, each in zip(entries, made, strict=True):
        await checkpoint.settle(entry, each)
    assert flushed == ["1/0"]
    assert left == ["0/0", "0/1", "1/0"]
    assert entries[0].lane.open == 0

    lost = False
    after = outcome(0, 2)
    await checkpoint.settle(checkpoint.arrive(after.frame), after)
    assert flushed == ["1/0"]
    await checkpoint.release([("frames", 0)], 1)
    again = outcome(0, 0)
    await checkpoint.settle(checkpoint.arrive(again.frame), again)
    assert flushed == ["1/0", "0/0"]


async def test_whoever_wants_to_stay_until_its_outcome_has_left_does() -> None:
    """While one flush is under way another settles for the next; a third returns at once, unless it is told to stay."""
    flushed: list[str] = []
    goes_on = asyncio.Event()

    async def flush(outcomes: Sequence[Outcome]) -> None:
        flushed.extend(o.result.frame_id for o in outcomes)
        await goes_on.wait()

    checkpoint = Checkpoint(flush, lambda _: None)
    made = [outcome(0, offset) for offset in range(4)]
    entries = [checkpoint.arrive(one.frame) for one in made]
    settling = []
    for number in range(4):
        stays = number == 3
        settling.append(asyncio.create_task(checkpoint.settle(entries[number], made[number], until_left=stays)))
        for _ in range(5):
            await asyncio.sleep(0)
    assert flushed == ["0/0"]
    assert [task.done() for task in settling] == [False, False, True, False]
    goes_on.set()
    await asyncio.gather(*settling)
    assert flushed == ["0/0", "0/1", "0/2", "0/3"]


async def test_what_comes_soon_after_a_flush_goes_together() -> None:
    """The first outcome at once, the next ones when the interval is over, or when they are many, or all that came."""
    flushed: list[list[str]] = []

    async def flush(outcomes: Sequence[Outcome]) -> None:
        flushed.append([o.result.frame_id for o in outcomes])

    checkpoint = Checkpoint(flush, lambda _: None, 0.3, at_once=3)
    made = [outcome(0, number) for number in range(6)]
    entries = [checkpoint.arrive(one.frame) for one in made]
    begin = monotonic()
    await checkpoint.settle(entries[0], made[0])
    assert flushed == [["0/0"]]
    await asyncio.gather(*(checkpoint.settle(entries[number], made[number]) for number in (1, 2)))
    assert monotonic() - begin > 0.25
    assert flushed[1:] == [["0/1", "0/2"]]
    begin = monotonic()
    await asyncio.gather(*(checkpoint.settle(entries[number], made[number]) for number in (3, 4, 5)))
    assert monotonic() - begin < 0.25
    assert flushed[2:] == [["0/3", "0/4", "0/5"]]
    last = outcome(0, 6)
    await checkpoint.settle(checkpoint.arrive(last.frame), last)
    assert monotonic() - begin < 0.25
    assert flushed[3:] == [["0/6"]]


async def test_a_later_frame_that_is_settled_first_delays_no_other() -> None:
    """Nothing can leave then: it begins no pause, and counts once the oldest is settled."""
    flushed: list[list[str]] = []

    async def flush(outcomes: Sequence[Outcome]) -> None:
        flushed.append([o.result.frame_id for o in outcomes])

    checkpoint = Checkpoint(flush, lambda _: None, 1000.0, at_once=100)
    made = [outcome(0, number) for number in range(5)]
    entries = [checkpoint.arrive(one.frame) for one in made[:2]]
    async with asyncio.timeout(20):
        await checkpoint.settle(entries[1], made[1])
        assert flushed == []
        await checkpoint.settle(entries[0], made[0])
        assert flushed == [["0/0", "0/1"]]
        # The same after a flush, whose pause all of them would outlast.
        entries = [checkpoint.arrive(one.frame) for one in made[2:]]
        settling = [asyncio.create_task(checkpoint.settle(entries[n], made[2 + n])) for n in (2, 1)]
        await asyncio.sleep(0.05)
        assert flushed[1:] == []
        await checkpoint.settle(entries[0], made[2])
        await asyncio.gather(*settling)
    assert flushed[1:] == [["0/2", "0/3", "0/4"]]


async def test_a_frame_can_wait_until_it_is_the_first_of_its_lane() -> None:
    """It goes on once everything that arrived before it has left, and not when only some has."""

    async def flush(outcomes: Sequence[Outcome]) -> None: ...

    checkpoint = Checkpoint(flush, lambda _: None)
    made = [outcome(0, offset) for offset in range(3)]
    entries = [checkpoint.arrive(one.frame) for one in made]
    lane = entries[0].lane
    await asyncio.wait_for(lane.until_first(entries[0]), 1)
    waiting = asyncio.create_task(lane.until_first(entries[2]))
    await asyncio.sleep(0)
    assert lane.open == 3
    for number in range(2):
        assert not waiting.done()
        await checkpoint.settle(entries[number], made[number])
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 1)


async def test_what_a_delivery_raises_is_raised_to_whoever_settled() -> None:
    """A time-out of the delivery's own is not taken for a lane that was given up."""

    async def flush(outcomes: Sequence[Outcome]) -> None:
        raise TimeoutError("the broker's own")

    checkpoint = Checkpoint(flush, lambda _: None)
    made = outcome(0, 0)
    entry = checkpoint.arrive(made.frame)
    with pytest.raises(TimeoutError, match="own"):
        await checkpoint.settle(entry, made)
    assert entry.lane.flush_scope is None
    assert entry.lane.open == 1


async def test_positions_are_kept_where_a_frame_has_none() -> None:
    """Frames of live cameras share the bookkeeping: they are flushed at once, without an interval."""
    flushed: list[list[str]] = []

    async def flush(outcomes: Sequence[Outcome]) -> None:
        flushed.append([o.result.frame_id for o in outcomes])

    checkpoint = Checkpoint(flush, lambda _: None, 30.0, at_once=10)
    made = [replace(outcome(0, n), frame=frame(f"0/{n}", b"x")) for n in range(3)]
    entries = [checkpoint.arrive(one.frame) for one in made]
    async with asyncio.timeout(5):
        for entry, one in zip(entries, made, strict=True):
            await checkpoint.settle(entry, one)
    assert flushed == [["0/0"], ["0/1"], ["0/2"]]
    assert [lane.watermark for lane in checkpoint.lanes] == [None]


async def test_releasing_names_only_lanes_that_are_there_and_not_done() -> None:
    """A lane without frames in flight is let go at once; one that this worker does not have is none of its own."""

    async def flush(outcomes: Sequence[Outcome]) -> None: ...

    checkpoint = Checkpoint(flush, lambda _: None)
    made = outcome(0, 0)
    entry = checkpoint.arrive(made.frame)
    assert await checkpoint.release([("frames", 7)], 30) == []
    await checkpoint.settle(entry, made)
    assert len(checkpoint.lanes) == 1
    assert await checkpoint.release([("frames", 0)], 30) == []
    assert len(checkpoint.lanes) == 0
    assert not entry.lane.abandoned


async def test_what_was_taken_leaves_once() -> None:
    """Told again that it is durable, a lane lets no other frame go, and its watermark stays."""
    lane = Lane(("frames", 0))
    entries = [lane.arrive(Position("frames", 0, offset)) for offset in (5, 6)]
    assert lane.take_ready() == []
    entries[0].outcome = outcome(0, 5)
    assert lane.take_ready() == [entries[0].outcome]
    lane.leave()
    lane.leave()
    assert (lane.open, lane.watermark) == (1, Position("frames", 0, 5))
    assert not lane.empty.is_set()
    entries[1].outcome = outcome(0, 6)
    lane.take_ready()
    lane.leave()
    assert (lane.open, lane.watermark) == (0, Position("frames", 0, 6))
    assert lane.empty.is_set()
