"""A thread that serves two kinds of work by turns: calls, which never wait, and steps of learning between them.

While none waits, steps follow one another, and a call that comes waits for the one that is running. While calls wait,
steps have a few milliseconds after each of them, or a share of what it took, so that learning goes on under full load
as well. A call may also begin what is answered later: the next call need not wait for that, steps do.
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
STEPS_S = 0.02
"""Time for steps after each call, in seconds of this thread on a core: at least one, and none begins later. On a busy
machine that may take several times as long, but so does all that frames would wait for instead.
"""
SHARE = 0.5
"""After a call that took long they have so much of its time, if that is more."""


class Turns:
    """One thread, started with the first work and ended by `close`.

    Args:
        name: of the thread.
        steps_s: time for steps after each call while others wait, in seconds on a core; 0: one step.
        share: or so much of the time that the call took.
    """

    def __init__(self, name: str, steps_s: float = STEPS_S, share: float = SHARE) -> None:
        self._steps_s, self._share = steps_s, share
        self._may_spend_s = 0.0
        self._spent_s = 0.0
        """By steps since the last call, on a core."""
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[], Future[Any]], Future[Any]]] = deque()
        self._under_way = 0
        """Calls that have begun and are not answered."""
        self._steps: deque[tuple[Iterator[None], Future[None]]] = deque()
        self._owed = False
        """Whether it is the steps' turn: a call has run, and their time since is not over."""
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
                self._changed.wait_for(lambda: self._closed or self._turn is not None)
                if self._closed:
                    return
                call = self._calls.popleft() if self._turn == "call" else None
            if call is not None:
                self._begin(*call)
            else:
                began_s = time.thread_time()
                self._step()
                with self._changed:
                    self._spent_s += time.thread_time() - began_s
                    self._owed = self._spent_s < self._may_spend_s

    @property
    def _turn(self) -> Literal["call", "step"] | None:
        """Whose turn it is; nobody's while steps wait for what is under way, or nothing waits."""
        if not self._steps:
            return "call" if self._calls else None
        if self._under_way:
            return None
        return "call" if self._calls and not self._owed else "step"

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
        began_s = time.monotonic()
        with self._changed:
            self._under_way += 1
        try:
            later = work()
        except BaseException as error:
            self._answered(began_s)
            answer.set_exception(error)
        else:
            later.add_done_callback(partial(self._pass_on, answer, began_s))

    def _pass_on(self, answer: "Future[T]", began_s: float, later: "Future[T]") -> None:
        self._answered(began_s)
        _settle(answer, later)

    def _answered(self, began_s: float) -> None:
        """A call that began then is answered: the steps' time begins."""
        with self._changed:
            self._under_way -= 1
            self._owed, self._spent_s = True, 0.0
            self._may_spend_s = max(self._steps_s, self._share * (time.monotonic() - began_s))
            self._changed.notify()


def _settle(answer: "Future[T]", found: "Future[T]") -> None:
    error = found.exception()
    if error is None:
        answer.set_result(found.result())
    else:
        answer.set_exception(error)
