"""Whose turn it is among the partitions that were read."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.crash_notes import CrashNotes
from patchline.stream.kafka.read_ahead import ReadAhead, ReadAheads
from patchline.stream.model.frame import Position
from tests.stream.scripted import frame

BATCH = 4


class Topic:
    """Partitions that have all been read ahead; partition N holds the camera `cam-N`, and whichever others are said."""

    def __init__(self, partitions: int, urgent: Callable[[str], bool] = lambda _: False) -> None:
        self.all = ReadAheads(urgent)
        self.offsets = [0] * partitions
        for number in range(partitions):
            notes = CrashNotes("", end=0, window=64)
            self.all.add(TopicPartition("frames", number), ReadAhead(KafkaConfig(), notes, 0))

    def buffer(self, number: int) -> ReadAhead:
        """What was read ahead of a partition."""
        buffer = self.all.get(TopicPartition("frames", number))
        assert buffer is not None
        return buffer

    def next(self) -> int | None:
        """The partition of the next frame that is taken."""
        taken = self.all.pop()
        return taken.position.partition if taken is not None and taken.position is not None else None

    def fill(self, number: int, frames: int, cameras: Sequence[str] = ()) -> None:
        """Let frames of a partition arrive."""
        buffer = self.buffer(number)
        for _ in range(frames):
            offset = self.offsets[number]
            self.offsets[number] += 1
            camera = cameras[offset % len(cameras)] if cameras else f"cam-{number}"
            position = Position("frames", number, offset)
            buffer.push(frame(f"{number}/{offset}", b"x", camera=camera, position=position), offset)

    def batch(self) -> list[Position]:
        """What is taken for one batch."""
        self.all.end_turn()
        taken = [self.all.pop() for _ in range(BATCH)]
        return [one.position for one in taken if one is not None and one.position is not None]

    def batches(self, count: int) -> list[int]:
        """The partition of each of so many batches, where there is always more of all; each is of one partition."""
        found = []
        for _ in range(count):
            for number in range(len(self.offsets)):
                self.fill(number, BATCH)
            (partition,) = {position.partition for position in self.batch()}
            found.append(partition)
        return found


def test_a_batch_is_of_one_partition_where_that_has_enough() -> None:
    """Partitions take turns, a batch each; one that has too few leaves the rest of its batch to the next."""
    topic = Topic(3)
    assert topic.batches(6) == [0, 1, 2, 0, 1, 2]
    topic = Topic(2)
    topic.fill(0, 1)
    topic.fill(1, 9)
    assert [position.partition for position in topic.batch()] == [0, 1, 1, 1]
    assert [position.partition for position in topic.batch()] == [1, 1, 1, 1]
    topic.fill(0, 9)
    assert {position.partition for position in topic.batch()} == {0}


@pytest.mark.parametrize("partitions", [2, 5])
def test_under_overload_a_camera_with_an_alarm_has_several_turns_for_one_of_each_other(partitions: int) -> None:
    """Its partition has four turns for one of each other from its first frame on, and all get theirs, evenly."""
    topic = Topic(partitions, urgent=lambda camera: camera == "cam-1")
    rounds = 10
    had = Counter(topic.batches(rounds * (partitions + 3)))
    assert had == {number: rounds * (4 if number == 1 else 1) for number in range(partitions)}


def test_an_alarm_that_comes_and_goes_changes_the_turns_from_then_on() -> None:
    """Nothing is owed for the time before, nor paid back after."""
    urgent: set[str] = set()
    topic = Topic(2, urgent=urgent.__contains__)
    assert topic.batches(10).count(0) == 5
    urgent.add("cam-0")
    assert topic.batches(50).count(0) == 40
    urgent.clear()
    assert 4 <= topic.batches(10).count(0) <= 6


def test_a_camera_is_urgent_among_others_of_its_partition() -> None:
    """Its frame need not be the next: it is known by those taken lately, until it has sent none for a while."""
    topic = Topic(2, urgent=lambda camera: camera == "cam-9")
    topic.fill(1, 400)
    topic.fill(0, 32, ["cam-9", "cam-0"])
    buffer = topic.buffer(0)
    while topic.batch():
        if not buffer.frames:
            break
    assert buffer.has_any(lambda camera: camera == "cam-9")
    topic.fill(0, 200)
    had = Counter(position.partition for _ in range(40) for position in topic.batch())
    assert had[0] > had[1]
    had = Counter(position.partition for _ in range(20) for position in topic.batch())
    assert abs(had[0] - had[1]) <= BATCH


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=60), st.sets(st.integers(0, 3)))
def test_order_is_kept_and_nobody_who_waits_is_passed_over_for_long(
    script: list[tuple[int, int]], urgent: set[int]
) -> None:
    """Whatever arrives when: a partition's frames come in its order, all of them, and each within bounded turns."""
    topic = Topic(4, urgent=lambda camera: int(camera[-1]) in urgent)
    taken: list[Position] = []
    passed_over = Counter[int]()

    def take() -> None:
        waiting = {p.partition for p, buffer in topic.all if buffer.frames}
        found = topic.batch()
        taken.extend(found)
        for partition in waiting:
            passed_over[partition] = 0 if any(p.partition == partition for p in found) else passed_over[partition] + 1
            assert passed_over[partition] <= 4 * 4

    for partition, frames in script:
        topic.fill(partition, frames)
        take()
    while topic.all.waiting:
        take()
    for partition, offset in enumerate(topic.offsets):
        assert [p.offset for p in taken if p.partition == partition] == list(range(offset))


def test_a_partition_that_is_dropped_amid_its_turn_is_forgotten() -> None:
    """What waits of it is not taken, and the others go on."""
    topic = Topic(2)
    topic.fill(0, 3)
    topic.fill(1, 3)
    assert topic.next() == 0
    topic.all.drop(TopicPartition("frames", 0))
    assert [topic.next() for _ in range(3)] == [1, 1, 1]
    assert topic.all.pop() is None
    assert topic.all.in_turn() == [TopicPartition("frames", 1)]


def ahead(number: int = 0, **bounds: int) -> ReadAhead:
    return ReadAhead(KafkaConfig(**bounds), CrashNotes("", end=0, window=64), 0)  # type: ignore[arg-type] # whole numbers


def pushed(buffer: ReadAhead, *payloads: bytes) -> ReadAhead:
    for payload in payloads:
        offset = buffer.next_offset
        position = Position("frames", 0, offset)
        buffer.push(frame(f"0/{offset}", payload, camera="cam-0", position=position), offset)
    return buffer


def test_a_partition_is_full_at_exactly_its_frames_or_its_bytes() -> None:
    """It is read no further then; what is taken makes room again, to the byte."""
    by_frames = ahead(partition_buffer_frames=2)
    assert not pushed(by_frames, b"x").full
    assert pushed(by_frames, b"x").full
    by_frames.pop()
    assert not by_frames.full
    by_bytes = ahead(partition_buffer_bytes=10)
    assert not pushed(by_bytes, b"12345", b"6789").full
    assert pushed(by_bytes, b"0").full
    by_bytes.pop()
    assert not by_bytes.full
    assert pushed(by_bytes, b"12345").full
    assert by_bytes.next_offset == 4


async def test_who_asks_for_a_frame_waits_until_some_were_pushed() -> None:
    """Whoever reads is told that a frame is asked for, and when one was taken; frames come in order."""
    partition, all_ = TopicPartition("frames", 0), ReadAheads()
    all_.add(partition, buffer := ahead())
    all_.expect_change()
    asking = asyncio.create_task(all_.take())
    await all_.until_changed(60)
    assert all_.asked
    assert not asking.done()
    all_.expect_change()
    pushed(buffer, b"a", b"b")
    assert (all_.waiting, len(all_)) == (2, 1)
    all_.tell_filled()
    taken = await asking
    assert (taken.frame_id, all_.asked, all_.waiting) == ("0/0", False, 1)
    await all_.until_changed(60)  # one was taken
    assert (await all_.take()).frame_id == "0/1"


async def test_who_waits_is_woken_by_what_comes_later() -> None:
    """Not by what had come and was taken before: that would be to ask again and again without a pause."""
    partition, all_ = TopicPartition("frames", 0), ReadAheads()
    all_.add(partition, buffer := ahead())
    pushed(buffer, b"a", b"b")
    all_.tell_filled()
    assert (await all_.take()).frame_id == "0/0"
    assert (await all_.take()).frame_id == "0/1"
    asking = asyncio.create_task(all_.take())
    await asyncio.sleep(0.05)
    assert all_.asked
    assert not asking.done()
    pushed(buffer, b"c")
    all_.tell_filled()
    assert (await asking).frame_id == "0/2"


async def test_whoever_waits_for_a_frame_has_the_error_that_nobody_else_would_see() -> None:
    """Also where frames wait, and again when asked again."""
    all_ = ReadAheads()
    asking = asyncio.create_task(all_.take())
    await asyncio.sleep(0)
    with all_.failing():
        raise RuntimeError("refused")
    with pytest.raises(RuntimeError, match="refused"):
        await asking
    all_.add(TopicPartition("frames", 0), pushed(ahead(), b"x"))
    with pytest.raises(RuntimeError, match="refused"):
        await all_.take()


async def test_one_more_partition_ends_a_fetch_early() -> None:
    """What is awaited would else know nothing of it until its time is over."""
    all_, ended = ReadAheads(), []

    async def fetch() -> None:
        async with all_.until_more_partitions():
            await asyncio.sleep(60)
        ended.append(True)

    fetching = asyncio.create_task(fetch())
    await asyncio.sleep(0)
    assert ended == []
    partition = TopicPartition("frames", 1)
    all_.add(partition, ahead())
    await asyncio.wait_for(fetching, 10)
    assert ended == [True]
    assert partition in all_
    all_.drop(partition)
    assert partition not in all_
    assert all_.get(partition) is None


def test_partitions_are_asked_in_the_order_of_their_turns() -> None:
    """The one whose turn it is comes first, then whichever has had least."""
    topic = Topic(3)
    for number in range(3):
        topic.fill(number, 1)
    assert topic.next() == 0
    topic.all.end_turn()
    topic.fill(0, 1)
    assert [partition.partition for partition in topic.all.in_turn()] == [1, 2, 0]
    assert topic.next() == 1
    assert topic.all.in_turn()[0].partition == 1


async def test_a_partition_that_is_held_is_passed_over_even_amid_its_turn() -> None:
    """The others go on; it comes back with its next frame, and whoever waits for one is woken."""
    topic = Topic(2)
    topic.fill(0, 3)
    topic.fill(1, 1)
    assert topic.next() == 0
    topic.all.hold(frozenset({TopicPartition("frames", 0)}))
    assert topic.all.has_next
    assert topic.next() == 1
    assert topic.next() is None
    assert (topic.all.has_next, topic.all.waiting) == (False, 2)
    assert topic.all.in_turn() == [TopicPartition("frames", 1)]
    taking = asyncio.create_task(topic.all.take())
    await asyncio.sleep(0)
    topic.all.hold(frozenset())
    assert (await asyncio.wait_for(taking, 10)).position == Position("frames", 0, 1)
    assert topic.all.in_turn() == [TopicPartition("frames", 0), TopicPartition("frames", 1)]
