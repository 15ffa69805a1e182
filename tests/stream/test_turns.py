"""Calls and steps share a thread: calls first, steps for a moment after each."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from stream.turns import Turns


@pytest.fixture
def turns():
    made = Turns("test", steps_s=0, share=0)
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


def order_of(turns: Turns, count: int, before: Callable[[], None] = lambda: None) -> list[str]:
    """In which order a call and so many steps run that all wait for the call before."""
    log, gate = [], threading.Event()
    turns.call(lambda: gate.wait(60))
    turns.call(before)
    call = turns.call(lambda: log.append("call"))
    learned = turns.steps(steps(log, "step", count))
    gate.set()
    learned.result(60)
    call.result(60)
    turns.close()
    return log


def test_quick_steps_follow_one_another_once_they_have_earned_it():
    """While calls wait, steps go on for their time, here without end, before the next call has its turn."""
    assert order_of(Turns("test", steps_s=60, first_s=0), 3) == ["step0", "step1", "step2", "call"]


def test_steps_leave_waiting_calls_alone_at_first():
    """What has just come has its turn in time that is nobody else's, here after all calls."""
    assert order_of(Turns("test", steps_s=60, share=0.5, first_s=60), 3) == ["call", "step0", "step1", "step2"]


def test_steps_do_not_keep_a_call_from_beginning_beside_another():
    """Until they have earned time, calls follow one another without a pause; steps run when none is under way."""
    turns = Turns("test", steps_s=60, share=0.5, first_s=60)
    log: list[str] = []
    first, second = Future(), Future()
    answers = [turns.begin(lambda: first)]
    turns.call(lambda: None).result(60)  # the first has begun
    learned = turns.steps(steps(log, "step", 2))
    answers.append(turns.begin(lambda: second))
    assert turns.call(lambda: len(log)).result(60) == 0  # so has the second
    first.set_result(0)
    second.set_result(0)
    learned.result(60)
    turns.close()
    assert log == ["step0", "step1"]


def test_steps_that_calls_never_leave_time_earn_it():
    """Each call is handed in before the last has run, and still the steps end."""
    turns = Turns("test", steps_s=0.001, share=0.2, first_s=0.01)
    log: list[str] = []
    turns.call(lambda: None).result(60)
    learned = turns.steps(steps(log, "step", 5))
    calls = deque([turns.call(lambda: time.sleep(0.002)) for _ in range(8)])
    until = time.monotonic() + 60
    while not learned.done() and time.monotonic() < until:
        calls.append(turns.call(lambda: time.sleep(0.002)))
        calls.popleft().result(60)
    turns.close()
    assert learned.done()


def test_steps_have_a_share_of_a_call_that_took_long():
    """All of them, where they take less than a half of it, and have waited for it."""
    log = order_of(Turns("test", steps_s=0.1, share=0.5), 40, before=lambda: time.sleep(0.5))
    assert log.index("call") > 20


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


def test_the_next_call_need_not_wait_for_an_answer_that_comes_later(turns):
    """Answers come from elsewhere, in any order."""
    first, second = Future(), Future()
    answers = [turns.begin(lambda: first), turns.begin(lambda: second)]
    second.set_result(2)
    assert answers[1].result(60) == 2
    assert not answers[0].done()
    first.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        answers[0].result(60)
    with pytest.raises(ZeroDivisionError):
        turns.begin(lambda: 1 / 0).result(60)


def test_steps_wait_for_what_is_under_way_and_have_their_turn_then(turns):
    """No step runs beside a call, and no further call begins before a step has run."""
    log: list[str] = []
    first, second = Future(), Future()

    def begin(name: str, answer: Future) -> Future:
        log.append(name)
        return answer

    answer = turns.begin(lambda: begin("call0", first))
    turns.call(lambda: None).result(60)  # the first has begun
    learned = turns.steps(steps(log, "step", 2))
    after = turns.begin(lambda: begin("call1", second))
    assert log == ["call0"]
    first.set_result(0)
    answer.result(60)
    while "call1" not in log:
        time.sleep(0.001)
    assert log == ["call0", "step0", "call1"]
    second.set_result(1)
    after.result(60)
    learned.result(60)
    assert log == ["call0", "step0", "call1", "step1"]
