"""Calls and steps share a thread: calls first, steps for a moment after each."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from patchline.stream.inspection import scheduler as scheduler_module
from patchline.stream.inspection.scheduler import EngineScheduler
from patchline.stream.support.heartbeat import Heartbeat
from tests.stream.waiting import Clock


@pytest.fixture
def scheduler() -> Iterator[EngineScheduler]:
    made = EngineScheduler("test", share=0)
    yield made
    made.close()


def steps(log: list[str], name: str, count: int) -> Iterator[None]:
    for number in range(count):
        log.append(f"{name}{number}")
        yield


def busy_steps(log: list[str], count: int, seconds: float) -> Iterator[None]:
    """Steps that each keep a core busy for so long."""
    for number in range(count):
        until_s = time.thread_time() + seconds
        while time.thread_time() < until_s:
            pass
        log.append(f"step{number}")
        yield


def order_of(scheduler: EngineScheduler, count: int, before: Callable[[], None] = lambda: None) -> list[str]:
    """In which order a call and so many steps run that all wait for the call before."""
    log: list[str] = []
    gate = threading.Event()
    scheduler.call(lambda: gate.wait(60))
    scheduler.call(before)
    call = scheduler.call(lambda: log.append("call"))
    learned = scheduler.steps(steps(log, "step", count))
    gate.set()
    learned.result(60)
    call.result(60)
    scheduler.close()
    return log


def test_steps_spend_what_they_have_earned_before_a_call_that_waits() -> None:
    """One after another; each of these takes less than what is earned meanwhile."""
    assert order_of(EngineScheduler("test", share=1000, first_s=0), 3) == ["step0", "step1", "step2", "call"]


def test_steps_leave_waiting_calls_alone_at_first() -> None:
    """What has just come runs in time that no call wants, here after all calls."""
    assert order_of(EngineScheduler("test", share=0.5, first_s=60), 3) == ["call", "step0", "step1", "step2"]


def test_steps_do_not_keep_a_call_from_beginning_beside_another() -> None:
    """Until they have earned time, calls follow one another without a pause; steps run when none is under way."""
    scheduler = EngineScheduler("test", share=0.5, first_s=60)
    log: list[str] = []
    first: Future[int] = Future()
    second: Future[int] = Future()
    answers = [scheduler.begin(lambda: first)]
    scheduler.call(lambda: None).result(60)  # the first has begun
    learned = scheduler.steps(steps(log, "step", 2))
    answers.append(scheduler.begin(lambda: second))
    assert scheduler.call(lambda: len(log)).result(60) == 0  # so has the second
    first.set_result(0)
    second.set_result(0)
    learned.result(60)
    scheduler.close()
    assert log == ["step0", "step1"]


def test_steps_that_calls_never_leave_time_earn_it() -> None:
    """Each call is handed in before the last has run, and still the steps end."""
    scheduler = EngineScheduler("test", share=0.2, first_s=0.01)
    log: list[str] = []
    scheduler.call(lambda: None).result(60)
    learned = scheduler.steps(steps(log, "step", 5))
    calls = deque([scheduler.call(lambda: time.sleep(0.002)) for _ in range(8)])
    until = time.monotonic() + 60
    while not learned.done() and time.monotonic() < until:
        calls.append(scheduler.call(lambda: time.sleep(0.002)))
        calls.popleft().result(60)
    scheduler.close()
    assert learned.done()


def test_steps_have_a_share_of_a_call_that_took_long() -> None:
    """All of them, where they take less than a half of it, and have waited for it."""
    log = order_of(EngineScheduler("test", share=0.5), 40, before=lambda: time.sleep(0.5))
    assert log.index("call") > 20


def test_steps_that_have_spent_what_they_earned_let_the_call_go_first() -> None:
    """What a step takes of a core is taken from what steps have earned, so ten long ones do not all hold a call up."""
    scheduler = EngineScheduler("test", share=0.1, first_s=0)
    log: list[str] = []
    gate = threading.Event()
    scheduler.call(lambda: gate.wait(60))
    learned = scheduler.steps(busy_steps(log, 10, seconds=0.04))
    call = scheduler.call(lambda: log.append("call"))
    time.sleep(0.5)  # earns a tenth of it
    gate.set()
    learned.result(60)
    call.result(60)
    scheduler.close()
    assert 1 <= log.index("call") < 8


def test_a_call_waits_for_one_step_only(scheduler: EngineScheduler) -> None:
    """A call that comes amid endless steps runs after the step that is running."""
    running = threading.Event()
    seen: list[int] = []

    def endless() -> Iterator[None]:
        while True:
            running.set()
            seen.append(0)
            yield

    learned = scheduler.steps(endless())
    assert running.wait(60)
    before = len(seen)
    assert scheduler.call(lambda: len(seen)).result(60) >= before
    learned.cancel()
    assert scheduler.call(lambda: 7).result(60) == 7


def test_what_a_step_raises_belongs_to_its_caller(scheduler: EngineScheduler) -> None:
    """An error ends its own steps; the next ones and calls go on."""

    def failing() -> Iterator[None]:
        yield
        raise ValueError("no")

    log: list[str] = []
    failed, after = scheduler.steps(failing()), scheduler.steps(steps(log, "s", 1))
    with pytest.raises(ValueError, match="no"):
        failed.result(60)
    after.result(60)
    assert log == ["s0"]
    with pytest.raises(ZeroDivisionError):
        scheduler.call(lambda: 1 / 0).result(60)


def test_closing_cancels_what_waits() -> None:
    """What has not begun is cancelled, and so is what comes later."""
    scheduler = EngineScheduler("test")
    gate, began = threading.Event(), threading.Event()

    def held() -> None:
        began.set()
        gate.wait(60)

    scheduler.call(held)
    assert began.wait(60)
    waiting = scheduler.call(lambda: None)
    learned = scheduler.steps(iter(()))
    scheduler.close()
    gate.set()
    assert waiting.cancelled()
    assert learned.cancelled()
    assert scheduler.call(lambda: None).cancelled()


def test_the_next_call_need_not_wait_for_an_answer_that_comes_later(scheduler: EngineScheduler) -> None:
    """Answers come from elsewhere, in any order."""

    def failing() -> Future[int]:
        raise ZeroDivisionError

    first: Future[int] = Future()
    second: Future[int] = Future()
    answers = [scheduler.begin(lambda: first), scheduler.begin(lambda: second)]
    second.set_result(2)
    assert answers[1].result(60) == 2
    assert not answers[0].done()
    first.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        answers[0].result(60)
    with pytest.raises(ZeroDivisionError):
        scheduler.begin(failing).result(60)


def begun(scheduler: EngineScheduler) -> Future[int]:
    """A call that has begun; its answer is the future's."""
    answer: Future[int] = Future()
    scheduler.begin(lambda: answer)
    scheduler.call(lambda: None).result(60)
    return answer


def test_steps_wait_for_what_is_under_way(scheduler: EngineScheduler) -> None:
    """As long as they have earned nothing, here never."""
    log: list[str] = []
    first = begun(scheduler)
    learned = scheduler.steps(steps(log, "step", 2))
    assert scheduler.call(lambda: list(log)).result(60) == []
    first.set_result(0)
    learned.result(60)
    assert log == ["step0", "step1"]


def test_steps_that_have_earned_it_run_beside_what_is_under_way() -> None:
    """Nothing comes that would wake the thread, and what is under way is not answered before they have ended."""
    scheduler = EngineScheduler("test", share=0.5, first_s=0.02)
    log: list[str] = []
    first = begun(scheduler)
    scheduler.steps(steps(log, "step", 3)).result(60)
    assert not first.done()
    assert log == ["step0", "step1", "step2"]
    scheduler.close()


def test_short_steps_do_not_wait_for_time_of_their_own() -> None:
    """Where others would have waited a minute before they run beside a call."""
    scheduler = EngineScheduler("test", share=0.5, first_s=60)
    log: list[str] = []
    first = begun(scheduler)
    scheduler.steps(steps(log, "step", 2), short=True).result(30)
    assert not first.done()
    assert log == ["step0", "step1"]
    scheduler.close()


def test_steps_that_must_be_alone_keep_calls_from_beginning() -> None:
    """Once they have earned it: not beside what is under way, but before what comes after."""
    scheduler = EngineScheduler("test", share=1000, first_s=0)
    log: list[str] = []
    first = begun(scheduler)
    learned = scheduler.steps(steps(log, "step", 2), alone=True)
    time.sleep(0.01)
    after = scheduler.call(lambda: log.append("call"))
    time.sleep(0.05)
    assert log == []
    first.set_result(0)
    learned.result(60)
    after.result(60)
    assert log == ["step0", "step1", "call"]
    scheduler.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def next_of(scheduler: EngineScheduler) -> str | None:
    """What the thread would do next."""
    return scheduler._runs_next


def unserved(share: float = 0.5, first_s: float = 2.0) -> EngineScheduler:
    """A scheduler whose thread does nothing, so that what it would do next can be asked."""
    made = EngineScheduler("test", share=share, first_s=first_s)
    made._thread = threading.Thread(target=lambda: None)
    return made


def test_steps_earn_their_share_of_the_time_that_they_wait(clock: Clock) -> None:
    """They begin owing the first wait, and run before calls only once they have earned more than nothing."""
    scheduler = unserved()
    assert scheduler._until_earned_s is None, "nothing waits"
    scheduler.call(lambda: None)
    scheduler.steps(iter([]))
    assert scheduler._earned_s == pytest.approx(-1.0)
    assert scheduler._until_earned_s == pytest.approx(2.0)
    assert next_of(scheduler) == "call"
    clock.now_s += 2.0
    assert next_of(scheduler) == "call", "exactly nothing is not enough"
    clock.now_s += 0.5
    assert next_of(scheduler) == "step"
    assert scheduler._earned_s == pytest.approx(0.25)
    assert scheduler._until_earned_s == 0.0
    scheduler._calls.clear()
    scheduler._earned_s = -1.0
    assert next_of(scheduler) == "step", "nothing else wants the time"
    scheduler._under_way = 1
    assert next_of(scheduler) is None
    clock.now_s += 3.0
    assert next_of(scheduler) == "step", "beside what is under way"
    scheduler._waiting_steps.clear()
    assert next_of(scheduler) is None
    scheduler.call(lambda: None)
    assert next_of(scheduler) == "call"


def test_steps_that_must_be_alone_wait_for_what_is_under_way_whatever_they_have_earned(clock: Clock) -> None:
    """And no call begins before them once they have; what is never earned is not waited for."""
    scheduler = unserved()
    scheduler.steps(iter([]), alone=True, short=True)
    assert scheduler._earned_s == 0.0
    assert scheduler._until_earned_s is None
    scheduler._under_way = 1
    clock.now_s += 1.0
    scheduler.call(lambda: None)
    assert next_of(scheduler) is None
    scheduler._under_way = 0
    assert next_of(scheduler) == "step"
    never = unserved(share=0.0)
    never.steps(iter([]))
    assert never._until_earned_s is None


def test_steps_that_come_behind_others_owe_no_wait_of_their_own(clock: Clock) -> None:
    """What has been earned stays; when none waits any more the next ones begin anew."""
    scheduler = unserved()
    scheduler.steps(iter([]))
    clock.now_s += 4.0
    assert next_of(scheduler) == "step"
    scheduler.steps(iter([]))
    assert scheduler._earned_s == pytest.approx(1.0)
    scheduler._waiting_steps.clear()
    clock.now_s += 10.0
    scheduler.steps(iter([]))
    assert scheduler._earn() == pytest.approx(-1.0)


def test_what_a_step_takes_is_spent_and_in_free_time_never_more_than_was_earned(clock: Clock) -> None:
    """Free time leaves no debt; it does not pay one off either, beyond what is earned meanwhile."""
    scheduler = unserved()
    scheduler.steps(iter([]), short=True)
    scheduler._earned_s = 0.3
    scheduler._spend(1.0, free=False)
    assert scheduler._earned_s == pytest.approx(-0.7)
    scheduler._spend(1.0, free=True)
    assert scheduler._earned_s == pytest.approx(-0.7)
    clock.now_s += 2.0
    scheduler._spend(0.4, free=True)
    assert scheduler._earned_s == pytest.approx(-0.1)
    scheduler._earned_s = 0.3
    scheduler._spend(1.0, free=True)
    assert scheduler._earned_s == 0.0
    scheduler._earned_s = 0.3
    scheduler._spend(0.1, free=True)
    assert scheduler._earned_s == pytest.approx(0.2)


def test_the_share_and_the_first_wait_are_the_measured_ones() -> None:
    """A loaded worker takes a new generation within a second of a tap by them, and frames hardly wait."""
    assert (scheduler_module.SHARE, scheduler_module.FIRST_S) == (0.35, 0.1)


def test_a_call_that_fails_to_begin_is_not_under_way(scheduler: EngineScheduler) -> None:
    """Its error is its answer, and steps that wait for what is under way go on."""

    def fails() -> Future[None]:
        raise RuntimeError("no device")

    with pytest.raises(RuntimeError, match="no device"):
        scheduler.begin(fails).result(60)
    log: list[str] = []
    scheduler.steps(steps(log, "step", 2)).result(60)
    assert log == ["step0", "step1"]


def test_a_heart_beats_while_there_is_work_and_rests_when_there_is_none() -> None:
    """A call that does not end is silence, and so is one that is not answered; waiting for work is not."""
    clock = Clock()
    heart = Heartbeat(clock)
    scheduler = EngineScheduler("test")
    scheduler.watch(heart)
    try:
        scheduler.call(lambda: None).result(60)
        rests(heart)
        gate = threading.Event()
        began = threading.Event()

        def hang() -> None:
            began.set()
            gate.wait(60)

        hanging = scheduler.call(hang)
        assert began.wait(60)
        clock.now_s += 7
        assert heart.silent_s == 7
        waiting = scheduler.call(lambda: None)  # more work is no sign of life
        assert heart.silent_s == 7
        gate.set()
        hanging.result(60)
        waiting.result(60)
        rests(heart)

        answers: list[Future[None]] = [Future(), Future()]
        begun = [scheduler.begin(lambda answer=answer: answer) for answer in answers]  # type: ignore[misc] # it has one
        scheduler.call(lambda: None).result(60)
        clock.now_s += 5
        assert heart.silent_s == 5
        answers[0].set_result(None)
        begun[0].result(60)
        assert heart.silent_s == 0
        clock.now_s += 6
        assert heart.silent_s == 6
        answers[1].set_result(None)
        rests(heart)
    finally:
        scheduler.close()


def rests(heart: Heartbeat) -> None:
    """Wait until it does; the thread sees a little later that nothing is left to do."""
    until_s = time.monotonic() + 60
    while not heart.resting:
        assert time.monotonic() < until_s
        time.sleep(0.001)


def test_steps_that_hang_are_silence() -> None:
    """As calls are."""
    clock = Clock()
    heart = Heartbeat(clock)
    scheduler = EngineScheduler("test")
    scheduler.watch(heart)
    gate, began = threading.Event(), threading.Event()

    def hang() -> Iterator[None]:
        yield
        began.set()
        gate.wait(60)

    try:
        learned = scheduler.steps(hang(), short=True)
        assert began.wait(60)
        clock.now_s += 3
        assert heart.silent_s == 3
        gate.set()
        learned.result(60)
        rests(heart)
    finally:
        gate.set()
        scheduler.close()
