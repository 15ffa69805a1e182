from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.kafka.cluster.log_break import LogSight, PartedLog, PartedLogs, begin, resume
from patchline.stream.kafka.crash_notes import LogNote
from patchline.stream.model.errors import LogBreak
from tests.stream.scripted import Recorder

P = [TopicPartition("frames", number) for number in range(3)]


def sight(first: int = 0, end: int = 100, **more: Any) -> LogSight:
    return LogSight(**{"topic": "new", "partitions": 3, "first": first, "end": end, **more})


def note(**more: Any) -> LogNote:
    return LogNote(**{"topic": "new", **more})


@pytest.mark.parametrize("offset", [5, 50, 100])
@pytest.mark.parametrize("noted", [LogNote(), note(), note(epoch=3, before=5)])
def test_an_offset_within_its_log_is_read_on_from(offset: int, noted: LogNote) -> None:
    """The first record and the end are within; what was not noted is not held against it."""
    assert resume(offset, noted, sight(first=5, epoch_end=100)) == (offset, None)


def test_records_that_were_deleted_before_they_were_read_are_counted() -> None:
    """Exactly: from the offset to the first record that is left."""
    assert resume(5, note(), sight(first=15)) == (15, PartedLog(LogBreak.EXPIRED, 5, 15, 10))


@pytest.mark.parametrize("end", [3, 50, 500])
def test_another_topic_of_the_name_is_read_from_its_first_record(end: int) -> None:
    """Also where it is already longer than the offset; how many were lost with the old one nobody knows."""
    assert resume(50, note(topic="old", epoch=1, before=50), sight(first=2, end=end, epoch_end=0)) == (
        2,
        PartedLog(LogBreak.RECREATED, 50, 2, None),
    )
    assert resume(50, note(topic="old"), sight(end=500, topic=None))[1] is None, "brokers that tell no ids"


@pytest.mark.parametrize(
    ("end", "epoch_end", "before", "start"),
    [
        (40, 40, 50, 40),  # cut short, and nothing written since
        (45, 40, 50, 40),  # and written on
        (60, 40, 50, 40),  # beyond the offset
        (45, 48, 30, 48),  # what was read since the note may be of a later epoch, but not what is not there
        (45, None, None, 7),  # nothing noted: whatever is there
        (45, None, 50, 7),  # noted, and the leader cannot tell
        (45, 3, 50, 7),  # all of the epoch was deleted since
    ],
)
def test_a_log_that_was_cut_short_is_read_on_from_the_cut(
    end: int, epoch_end: int | None, before: int | None, start: int
) -> None:
    """By the epoch of its leader; what was read before the cut is not read again."""
    noted = note(epoch=None if before is None else 3, before=before)
    assert resume(50, noted, sight(first=7, end=end, epoch_end=epoch_end)) == (
        start,
        PartedLog(LogBreak.TRUNCATED, 50, start, None),
    )


def test_an_epoch_that_ended_behind_what_was_noted_of_it_is_no_cut() -> None:
    """Another leader took over in order, after that."""
    assert resume(50, note(epoch=3, before=30), sight(end=60, epoch_end=35)) == (50, None)
    assert resume(50, note(epoch=3, before=60), sight(end=60, epoch_end=55)) == (50, None)


@given(
    records=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    cut=st.integers(0, 45),
    regrown=st.integers(0, 20),
    read=st.integers(0, 45),
    vouched=st.integers(0, 45),
)
def test_no_record_is_read_twice_nor_passed_over_after_a_cut(
    records: Sequence[int], cut: int, regrown: int, read: int, vouched: int
) -> None:
    """A model: runs of records, an epoch each; the last ones cut off, others written in a new epoch."""
    end = sum(records)
    cut, read = min(cut, end), min(read, end)
    vouched = min(vouched, read)
    epochs = [epoch for epoch, run in enumerate(records) for _ in range(run)]
    noted_epoch = epochs[vouched - 1] if vouched else 0
    now = epochs[:cut] + [len(records)] * regrown
    epoch_end = sum(epoch <= noted_epoch for epoch in now)
    noted = note(epoch=noted_epoch, before=vouched)
    start, parted = resume(read, noted, sight(end=len(now), epoch_end=epoch_end))
    lost_of_read = cut < read
    if not lost_of_read:
        assert (start, parted) == (read, None)
    elif cut < vouched or len(now) < read:
        assert parted is not None
        assert parted.cause is LogBreak.TRUNCATED
        assert start <= cut, "records that were written since are passed over"
        if noted_epoch == epochs[read - 1]:
            assert start == cut, "records are read twice"


def test_a_group_begins_as_configured() -> None:
    """At either end; how many partitions there were then is noted."""
    for latest, start in ((False, 5), (True, 100)):
        assert begin(0, sight(first=5), latest=latest, others=[], known=[]) == (start, 3, None)
        assert begin(0, sight(first=5), latest=latest, others=[], known=["new"]) == (start, 3, None)


def test_partitions_begin_together_whoever_begins_first() -> None:
    """Another worker's note says how many there were when the group began: those are begun as configured."""
    others = [note(partitions=2), note()]
    log = sight(first=5, partitions=4)
    assert begin(1, log, latest=True, others=others, known=[]) == (100, 2, None)
    added = PartedLog(LogBreak.PARTITION_ADDED, None, 5, 0)
    for latest in (False, True):
        assert begin(2, log, latest=latest, others=others, known=[]) == (5, 2, added)


def test_a_group_whose_beginning_was_not_noted_has_begun() -> None:
    """Its offsets are of a version that noted nothing: a partition without one came later."""
    added = PartedLog(LogBreak.PARTITION_ADDED, None, 0, 0)
    assert begin(1, sight(), latest=True, others=[LogNote()], known=[]) == (0, None, added)


@pytest.mark.parametrize(("others", "known"), [([], ["old", "new"]), ([], ["old"]), ([note(topic="old")], [])])
def test_a_topic_made_anew_is_read_whole_whatever_the_configuration(others: list[LogNote], known: list[str]) -> None:
    """The brokers forget its offsets, so the worker remembers its ids; or the note of another partition tells."""
    made_anew = PartedLog(LogBreak.RECREATED, None, 5, None)
    assert begin(1, sight(first=5), latest=True, others=others, known=known) == (5, 3, made_anew)


@pytest.mark.parametrize("latest", [False, True])
def test_a_partition_that_the_group_has_read_before_is_read_whole(latest: bool) -> None:
    """Its offset was forgotten, with a topic that was deleted or after a long time."""
    start, _, parted = begin(1, sight(first=5), latest=latest, others=[], known=[], was_read=True)
    assert (start, parted and parted.cause) == (5, LogBreak.RECREATED)


def test_without_ids_no_topic_is_taken_for_another() -> None:
    """Brokers may tell them again, or no longer."""
    assert begin(0, sight(topic=None), latest=True, others=[], known=["old"]) == (100, 3, None)


def test_a_topic_made_anew_is_told_once_and_everything_else_of_each_partition() -> None:
    """What was expected is told where the offset alone does not tell it."""
    seen = Recorder()
    logs = PartedLogs(seen)
    made_anew = PartedLog(LogBreak.RECREATED, 7, 0, None)
    logs.expect(P[0], LogBreak.RECREATED)
    logs.taken(P[0], made_anew, 0, "new")
    logs.taken(P[1], made_anew, 0, "new")
    logs.taken(P[2], PartedLog(LogBreak.EXPIRED, 1, 4, 3), 4, "new")
    logs.taken(P[2], None, 4, "new")
    logs.expect(P[1], LogBreak.TRUNCATED)
    logs.taken(P[1], None, 9, "new")
    logs.taken(P[1], None, 9, "new")
    logs.taken(P[0], made_anew, 0, "newer")
    for _ in range(2):
        logs.taken(P[0], made_anew, 0, None)
    assert seen.log_breaks == [
        (0, "recreated", 7, 0, None),
        (2, "expired", 1, 4, 3),
        (1, "truncated", None, 9, None),
        (0, "recreated", 7, 0, None),
        *[(0, "recreated", 7, 0, None)] * 2,
    ]
