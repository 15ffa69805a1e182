"""A thread that serves two kinds of work by turns: calls, which never wait, and steps of learning between them.

Steps run while no call waits and none is under way; a call that comes waits for the one that is running. Where calls
leave no such time, steps earn a share of it: once they have earned enough, no further call begins until they have spent
it, so that learning goes on under full load as well. A call may also begin what is answered later: the next call need
not wait for that, steps do.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, Literal, TypeVar

from engine.cores import finished

T = TypeVar("T")
STEPS_S = 0.01
"""Time that steps take from waiting calls at once, in seconds of this thread on a core: at least one step, and none
begins later. On a busy machine that may take several times as long, but so does all that frames would wait for instead.
"""
SHARE = 0.35
"""Of the time in which calls would have it all."""
FIRST_S = 0.05
"""So long steps that have just come wait at most for calls that have not begun."""


class Turns:
    """One thread, started with the first work and ended by `close`.

    Args:
        name: of the thread.
        steps_s: time that steps take from waiting calls at once, in seconds on a core; 0: one step after each call.
        share: of the time that steps wait they earn so much.
        first_s: steps have their first turn after so long.
    """

    def __init__(self, name: str, steps_s: float = STEPS_S, share: float = SHARE, first_s: float = FIRST_S) -> None:
        self._steps_s, self._share, self._first_s = steps_s, share, first_s
        self._earned_s = 0.0
        """By steps that wait, until `_earned_at_s`, less what they have spent, on a core."""
        self._earned_at_s = 0.0
        self._has_begun = False
        """Whether a call has begun since the last step."""
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[], Future[Any]], Future[Any]]] = deque()
        self._under_way = 0
        """Calls that have begun and are not answered."""
        self._steps: deque[tuple[Iterator[None], Future[None]]] = deque()
        self._spending = False
        """Whether it is the steps' turn although calls may wait."""
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def call(self, work: Callable[[], T]) -> "Future[T]":
        """Run `work` after the calls before it."""
        return self.begin(lambda: finished(work))

    def begin(self, work: Callable[[], "Future[T]"]) -> "Future[T]":
        """Run `work` after the calls before it have run; its answer is that of the future that it returns."""
        answer: Future[T] = Future()
        self._put(self._calls, (work, answer))
        return answer

    def steps(self, work: Iterator[None]) -> "Future[None]":
        """Run `work` step by step between calls, after the steps before it. Cancelling the answer leaves the rest."""
        answer: Future[None] = Future()
        with self._changed:
            if not self._steps:
                self._earned_s, self._earned_at_s = self._steps_s - self._share * self._first_s, time.monotonic()
                self._spending = False
            self._put(self._steps, (work, answer))
        return answer

    def close(self) -> None:
        """Let the thread end after what it is doing; what waits is cancelled."""
        with self._changed:
            self._closed = True
            waiting = [answer for queue in (self._calls, self._steps) for _, answer in queue]
            self._calls.clear()
            self._steps.clear()
            self._changed.notify()
        for answer in waiting:
            answer.cancel()

    def _put(self, queue: deque[Any], item: tuple[Any, "Future[Any]"]) -> None:
        with self._changed:
            if self._closed:
                item[1].cancel()
                return
            queue.append(item)
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (turn := self._turn) is None:
                    self._changed.wait()
                if self._closed:
                    return
                call = self._calls.popleft() if turn == "call" else None
                self._has_begun = turn == "call"
            if call is not None:
                self._begin(*call)
            else:
                began_s = time.thread_time()
                self._step()
                self._spend(time.thread_time() - began_s)

    @property
    def _turn(self) -> Literal["call", "step"] | None:
        """Whose turn it is; nobody's while steps wait for what is under way, or nothing waits."""
        if self._calls and not (self._steps and self._steps_may_spend()):
            return "call"
        return "step" if self._steps and not self._under_way else None

    def _steps_may_spend(self) -> bool:
        """Whether steps go before the calls that wait."""
        if self._has_begun and not self._spending:
            self._spending = self._earn() >= self._steps_s
        return self._spending

    def _earn(self) -> float:
        now = time.monotonic()
        self._earned_s += self._share * (now - self._earned_at_s)
        self._earned_at_s = now
        return self._earned_s

    def _spend(self, seconds: float) -> None:
        """A step has taken so long. What it took of time that was nobody else's costs no more than has been earned."""
        with self._changed:
            self._earned_s = max(0.0, self._earn() - seconds)
            self._spending = self._spending and self._earned_s > 0

    def _step(self) -> None:
        with self._changed:
            if not self._steps:
                return
            steps, answer = self._steps[0]
        ended = answer.cancelled()
        error: BaseException | None = None
        try:
            if not ended:
                next(steps)
        except StopIteration:
            ended = True
        except BaseException as raised:
            ended, error = True, raised
        if not ended:
            return
        with self._changed:
            if self._steps and self._steps[0][1] is answer:
                self._steps.popleft()
        if not answer.cancelled() and answer.set_running_or_notify_cancel():
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(error)

    def _begin(self, work: Callable[[], "Future[T]"], answer: "Future[T]") -> None:
        if not answer.set_running_or_notify_cancel():
            return
        with self._changed:
            self._under_way += 1
        try:
            later = work()
        except BaseException as error:
            self._answered()
            answer.set_exception(error)
        else:
            later.add_done_callback(partial(self._pass_on, answer))

    def _pass_on(self, answer: "Future[T]", later: "Future[T]") -> None:
        self._answered()
        _settle(answer, later)

    def _answered(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify()


def _settle(answer: "Future[T]", found: "Future[T]") -> None:
    error = found.exception()
    if error is None:
        answer.set_result(found.result())
    else:
        answer.set_exception(error)
