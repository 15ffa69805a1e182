"""Calls and steps share a thread: calls first, steps for a moment after each."""

import threading

import pytest

from stream.turns import Turns


@pytest.fixture
def turns():
    made = Turns("test", steps_s=0)
    yield made
    made.close()


def steps(log: list[str], name: str, count: int):
    for number in range(count):
        log.append(f"{name}{number}")
        yield


def test_one_step_runs_after_each_call_while_calls_wait(turns):
    """Calls keep their order, and steps advance by one between them, however many calls wait."""
    log: list[str] = []
    gate = threading.Event()
    turns.call(lambda: gate.wait(60))
    calls = [turns.call(lambda n=n: log.append(f"call{n}")) for n in range(4)]
    learned = turns.steps(steps(log, "step", 3))
    gate.set()
    learned.result(60)
    for call in calls:
        call.result(60)
    assert log == ["step0", "call0", "step1", "call1", "step2", "call2", "call3"]


def test_quick_steps_follow_one_another_after_a_call():
    """While calls wait, steps go on for their time, here without end, before the next call has its turn."""
    turns, log, gate = Turns("test", steps_s=60), [], threading.Event()
    turns.call(lambda: gate.wait(60))
    call = turns.call(lambda: log.append("call"))
    learned = turns.steps(steps(log, "step", 3))
    gate.set()
    learned.result(60)
    call.result(60)
    turns.close()
    assert log == ["step0", "step1", "step2", "call"]


def test_a_call_waits_for_one_step_only(turns):
    """A call that comes amid endless steps runs after the step that is running."""
    running, seen = threading.Event(), []

    def endless():
        while True:
            running.set()
            seen.append(0)
            yield

    learned = turns.steps(endless())
    assert running.wait(60)
    before = len(seen)
    assert turns.call(lambda: len(seen)).result(60) >= before
    learned.cancel()
    assert turns.call(lambda: 7).result(60) == 7


def test_what_a_step_raises_belongs_to_its_caller(turns):
    """An error ends its own steps; the next ones and calls go on."""

    def failing():
        yield
        raise ValueError("no")

    log: list[str] = []
    failed, after = turns.steps(failing()), turns.steps(steps(log, "s", 1))
    with pytest.raises(ValueError, match="no"):
        failed.result(60)
    after.result(60)
    assert log == ["s0"]
    with pytest.raises(ZeroDivisionError):
        turns.call(lambda: 1 / 0).result(60)


def test_closing_cancels_what_waits():
    """What has not begun is cancelled, and so is what comes later."""
    turns = Turns("test")
    gate, began = threading.Event(), threading.Event()
    turns.call(lambda: (began.set(), gate.wait(60)))
    assert began.wait(60)
    waiting = turns.call(lambda: None)
    learned = turns.steps(iter(()))
    turns.close()
    gate.set()
    assert waiting.cancelled()
    assert learned.cancelled()
    assert turns.call(lambda: None).cancelled()
