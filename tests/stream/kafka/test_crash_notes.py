import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline.stream.kafka.batches.epochs import UNKNOWN
from patchline.stream.kafka.crash_notes import CrashNotes, LogNote, has_left, log_note
from patchline.stream.model.frame import POISON_CRASHES


@settings(max_examples=100)
@given(
    frames=st.integers(1, 30),
    poison=st.sets(st.integers(0, 29), max_size=3),
    windows=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    gap=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
def test_exactly_the_frames_that_kill_are_given_up(
    frames: int, poison: set[int], windows: list[int], gap: int, seed: int
) -> None:
    """Workers of several window sizes die of some frames, and of nothing: each deadly frame kills at most twice alone.

    A model of the whole: up to a window of frames in flight, committed in runs; offsets with gaps, as transactions of
    the producer leave them.
    """
    draw = random.Random(seed)
    offsets = [n * gap for n in range(frames)]
    deadly, alone_at = {n * gap for n in poison}, dict.fromkeys(offsets, 0)
    given_up: set[int] = set()
    start, metadata, lives = 0, "", 0
    while start <= offsets[-1]:
        lives += 1
        assert lives < 60
        notes = CrashNotes(metadata, end=frames * gap, window=draw.choice(windows))
        metadata = notes.metadata(start)
        waiting = [offset for offset in offsets if offset >= start]
        while waiting:
            crashes = notes.take(waiting[0])
            if crashes is not None:
                (offset, *waiting) = waiting
                if crashes >= POISON_CRASHES:
                    given_up.add(offset)
                else:
                    metadata = notes.metadata(offset, alone=True)
                    if offset in deadly:
                        alone_at[offset] += 1
                        start = offset
                        break
                start, metadata = offset + 1, notes.metadata(offset + 1)
                if draw.random() < 0.1:
                    break  # killed with nothing in flight
                continue
            window = notes._window
            run = waiting[: draw.randint(1, window)]
            for offset in run[1:]:
                assert notes.take(offset) is None
            if deadly & set(run):
                break
            waiting = waiting[len(run) :]
            start, metadata = run[-1] + 1, notes.metadata(run[-1] + 1)
    assert given_up == deadly & set(offsets)
    assert all(alone_at[offset] == POISON_CRASHES for offset in given_up)


def test_leaving_in_order_leaves_no_trace_and_what_was_to_be_retried_stays_so() -> None:
    """The next owner finds nothing, or the frames that its forerunner had not yet retried."""
    ordinary = CrashNotes("", end=0, window=64)
    assert not has_left(ordinary.metadata(5))
    assert ordinary.farewell(5) == ""
    notes = CrashNotes(ordinary.metadata(5), end=8, window=64)
    assert [notes.take(offset) for offset in (5, 6)] == [0, 0]
    after = CrashNotes(notes.farewell(6), end=100, window=64)
    assert [after.take(offset) for offset in (6, 7, 8)] == [0, 0, None]


@pytest.mark.parametrize("found", ["", "text", "7", '{"in_flight": 3, "more": 1}'])
def test_metadata_of_others_says_nothing(found: str) -> None:
    """Whatever else is committed with an offset, no frame is retried alone for it, and nobody is waited for."""
    assert CrashNotes(found, end=10, window=64).take(0) is None
    assert has_left(found)


def test_a_note_says_whether_its_worker_may_still_have_frames_in_flight() -> None:
    """While it works it may; it has left in order, or tries frames alone and is between two of them, and may not."""
    working = CrashNotes("", end=0, window=64)
    assert not has_left(working.metadata(5))
    assert has_left(working.farewell(5))
    retrying = CrashNotes(working.metadata(5), end=8, window=64)
    retrying.take(5)
    assert not has_left(retrying.metadata(5, alone=True))
    assert has_left(retrying.metadata(6))
    assert has_left(retrying.farewell(6))


def test_which_log_the_offset_counts_in_stays_with_it() -> None:
    """Through work, a frame that is tried alone, and a farewell, which still says that nothing is in flight."""
    log = LogNote(topic="0pQ4b4fLQ0C1W5wVw6uG2g", partitions=6)
    notes = CrashNotes("", end=0, window=64, log=log)
    assert notes.metadata(5) == '{"in_flight":64,"log":{"topic":"0pQ4b4fLQ0C1W5wVw6uG2g","partitions":6}}'
    notes.read(5, 3)
    notes.read(1040, 4)
    farewell = notes.farewell(1040)
    assert farewell == '{"log":{"topic":"0pQ4b4fLQ0C1W5wVw6uG2g","partitions":6,"epoch":3,"before":1040}}'
    assert has_left(farewell)
    assert CrashNotes(farewell, end=9, window=4).take(5) is None
    assert log_note(notes.metadata(1041)) == LogNote(topic=log.topic, partitions=6, epoch=4, before=1041)
    retrying = CrashNotes(notes.metadata(5), end=9, window=4, log=log)
    assert [retrying.take(5), retrying.take(6)] == [0, 0]
    for found in (retrying.metadata(5, alone=True), retrying.farewell(6)):
        assert log_note(found) == log
    assert has_left(retrying.farewell(6))
    assert not has_left(retrying.metadata(5, alone=True))


@pytest.mark.parametrize("found", ["", "text", '{"in_flight":64}', '{"in_flight":12,"until":1041}'])
def test_where_no_log_was_noted_none_is_known(found: str) -> None:
    """Nothing is held against the one that is there; what is not known is not noted."""
    assert log_note(found) == LogNote()
    assert CrashNotes("", end=0, window=64, log=LogNote()).farewell(5) == ""


def test_a_later_version_may_note_more_of_a_log() -> None:
    """What is known of it is read."""
    assert log_note('{"in_flight":4,"log":{"topic":"a","more":1}}') == LogNote(topic="a")


def test_an_epoch_is_of_the_records_before_the_offset_that_it_is_noted_with() -> None:
    """What the former owner noted counts until something is read; what cannot be read is of no epoch that is known."""
    notes = CrashNotes("", end=0, window=64, log=LogNote(topic="t", epoch=2, before=7))
    assert log_note(notes.farewell(7)) == LogNote(topic="t", epoch=2, before=7)
    notes.read(7, 2)
    notes.read(9, UNKNOWN)
    notes.read(10, 5)
    notes.read(12, 4)
    noted = {offset: log_note(notes.metadata(offset)) for offset in (8, 9, 10, 11, 12, 14)}
    assert {at: (log.epoch, log.before) for at, log in noted.items()} == {
        **{8: (2, 8), 9: (2, 9), 10: (2, 9)},
        **{11: (5, 11), 12: (5, 12), 14: (5, 12)},
    }
    assert notes.epoch == UNKNOWN


def test_records_of_a_later_epoch_wait_until_they_are_admitted() -> None:
    """Where nothing is known of what was read before, there is nothing to wait for."""
    notes = CrashNotes("", end=0, window=64)
    assert notes.admits(4)
    notes.read(0, 4)
    assert [notes.admits(epoch) for epoch in (UNKNOWN, 3, 4, 5)] == [True, True, True, False]
    assert notes.awaited == 5
    notes.admit(5)
    assert notes.admits(5)
    assert not notes.admits(6)
