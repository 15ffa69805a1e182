"""Partitions that wait: which are asked for again, when, and what is said of them."""

import pytest

from patchline.stream.kafka.batches import waiting
from patchline.stream.kafka.batches.waiting import PATIENCE_S, PAUSE_S, WaitingPartitions
from tests.stream.waiting import Clock

ASKED = [("frames", [(0, 7, 1000), (1, 3, 1000)]), ("feedback", [(0, 2, 1000)])]
WITHOUT = [("frames", [(1, 3, 1000)]), ("feedback", [(0, 2, 1000)])]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting, "monotonic", made)
    return made


def test_one_that_waits_is_asked_for_after_a_pause_and_all_others_at_once(clock: Clock) -> None:
    """A topic of which nothing is due is not asked for at all."""
    waits = WaitingPartitions()
    assert not waits
    assert waits.due(ASKED) == ASKED
    waits.wait(("frames", 0), 7, "nothing comes")
    assert waits
    assert waits.due(ASKED) == WITHOUT
    waits.wait(("feedback", 0), 2, "nothing comes")
    assert waits.due(ASKED) == WITHOUT[:1]
    clock.now_s += PAUSE_S
    assert waits.due(ASKED) == ASKED


def test_one_that_is_read_further_or_is_done_waits_no_longer(clock: Clock) -> None:
    """Also where it is asked for from another offset, as after a seek."""
    waits = WaitingPartitions()
    waits.wait(("frames", 0), 7, "nothing comes")
    assert waits.due([("frames", [(0, 8, 1000)])]) == [("frames", [(0, 8, 1000)])]
    assert not waits
    waits.wait(("frames", 0), 7, "nothing comes")
    waits.done(("frames", 0))
    assert waits.due(ASKED) == ASKED
    waits.done(("frames", 0))


def test_after_a_while_what_lay_before_the_end_is_given_up(clock: Clock) -> None:
    """The end is that of the moment when it began to wait: what was written since may still be read."""
    waits = WaitingPartitions()
    assert waits.wait(("frames", 0), 7, "nothing comes", 9) == 7
    clock.now_s += PATIENCE_S - 0.1
    assert waits.wait(("frames", 0), 7, "nothing comes", 20) == 7
    clock.now_s += 0.1
    assert waits.wait(("frames", 0), 7, "nothing comes", 30) == 9
    assert waits.wait(("frames", 0), 9, "nothing comes", 30) == 9, "from another offset it waits anew"
    clock.now_s += PATIENCE_S
    assert waits.wait(("frames", 0), 9, "nothing comes") == 30


def test_those_that_wait_for_long_are_told_of_by_topic(clock: Clock) -> None:
    """In order of their numbers, with the newest reason."""
    waits = WaitingPartitions()
    waits.wait(("frames", 1), 3, "of 1")
    waits.wait(("frames", 0), 7, "older")
    waits.wait(("feedback", 0), 2, "of feedback")
    clock.now_s += 2 * PATIENCE_S
    assert waits.long("frames") == []
    clock.now_s += 0.1
    waits.wait(("frames", 0), 7, "of 0")
    waits.wait(("frames", 2), 0, "of 2")
    assert waits.long("frames") == ["of 0", "of 1"]
    assert waits.long("results") == []
