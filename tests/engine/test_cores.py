"""Frames on cores of their own: answers in order, without waiting between batches."""

import threading

import pytest

from engine.cores import Cores, begin, begin_next


@pytest.fixture
def cores():
    made = Cores(2)
    yield made
    made._workers.shutdown()


def test_what_is_begun_later_needs_no_core_to_wait(cores):
    """A core that is done goes on with the next batch, while another works on the last frame of the one before."""
    gate = threading.Event()
    slow = cores.begin(lambda item: gate.wait(60) if item == 1 else item, [0, 1])
    assert cores.begin(lambda item: item + 1, [5, 6, 7]).result(60) == [6, 7, 8]
    assert not slow.done()
    gate.set()
    assert slow.result(60) == [0, True]


def test_the_first_error_is_the_answer(cores):
    """When all items are done, and in their order."""

    def work(item: int) -> int:
        if item:
            raise ValueError(f"no {item}")
        return item

    with pytest.raises(ValueError, match="no 1"):
        cores.begin(work, [0, 1, 2]).result(60)


def test_what_is_next_goes_before_all_that_waits(cores):
    """On whichever core is free first; the items that waited follow in their order."""
    log, gates = [], [threading.Event(), threading.Event()]

    def work(item: int) -> int:
        if item < 2:
            gates[item].wait(60)
        log.append(item)
        return item

    waiting = cores.begin(work, [0, 1, 2, 3])
    urgent = cores.next(lambda: log.append("next"))
    failing = cores.next(lambda: 1 / 0)
    gates[1].set()
    urgent.result(60)
    with pytest.raises(ZeroDivisionError):
        failing.result(60)
    gates[0].set()
    assert waiting.result(60) == [0, 1, 2, 3]
    assert log.index("next") < log.index(2)


def test_what_is_next_runs_at_once_on_idle_cores(cores):
    """No item has to come first."""
    assert cores.next(lambda: 7).result(60) == 7
    assert begin_next(lambda: 7).result(60) == 7


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_begun_or_waited_for_answers_are_alike(count):
    """Whatever is left over for all cores together."""
    assert begin(lambda item: 2 * item, range(count), lambda: True).result(60) == [2 * item for item in range(count)]
