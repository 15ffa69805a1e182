import pytest

from patchline.stream.support import deadline
from patchline.stream.support.deadline import Deadline


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, in seconds, as a list of one."""
    now = [100.0]
    monkeypatch.setattr(deadline, "monotonic", lambda: now[0])
    return now


def test_what_one_step_takes_the_next_no_longer_has(clock: list[float]) -> None:
    """The time left shrinks with the clock to 0 and not below, and only then has the deadline passed."""
    until = Deadline(10)
    assert (until.left_s, until.passed, until.at_most(3)) == (10, False, 3)
    clock[0] += 8
    assert (until.left_s, until.passed, until.at_most(3)) == (2, False, 2)
    clock[0] += 2
    assert (until.left_s, until.passed, until.at_most(3)) == (0, True, 0)
    clock[0] += 5
    assert (until.left_s, until.passed, until.at_most(3)) == (0, True, 0)


def test_without_a_deadline_there_is_no_hurry(clock: list[float]) -> None:
    """None never passes and bounds nothing."""
    until = Deadline(None)
    clock[0] += 10**6
    assert (until.left_s, until.passed, until.at_most(3)) == (None, False, 3)
