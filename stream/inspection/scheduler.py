"""A thread that serves two kinds of work by turns: calls, which never wait, and steps of learning between them.

Steps run while no call waits and none is under way; a call that comes waits for the one that is running. Where calls
leave no such time, steps earn a share of it, and what they have earned they spend before calls that wait and beside
what is under way, so that learning goes on under full load as well. A call may also begin what is answered later: the
next call need not wait for that.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from patchline.engine.numerics.core_pool import finished

T = TypeVar("T")
SHARE = 0.35
"""Of the time that steps wait they earn so much of this thread's time on a core."""
FIRST_S = 0.1
"""So long steps that have just come wait at first for time that is nobody else's."""


class EngineScheduler:
    """One thread, started with the first work and ended by `close`.

    Args:
        name: of the thread.
        share: of the time that steps wait they earn so much.
        first_s: steps have their first turn beside calls after so long.
    """

    def __init__(self, name: str, share: float = SHARE, first_s: float = FIRST_S) -> None:
        self._share, self._first_s = share, first_s
        self._earned_s = 0.0
        """By steps that wait, until `_earned_at_s`, less what they have spent, on a core; below 0 they owe it."""
        self._earned_at_s = 0.0
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[], Future[Any]], Future[Any]]] = deque()
        self._under_way = 0
        """Calls that have begun and are not answered."""
        self._steps: deque[_Steps] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def call(self, work: Callable[[], T]) -> "Future[T]":
        """Run `work` after the calls before it."""
        return self.begin(lambda: finished(work))

    def begin(self, work: Callable[[], "Future[T]"]) -> "Future[T]":
        """Run `work` after the calls before it have run; its answer is that of the future that it returns."""
        answer: Future[T] = Future()
        self._put(self._calls, (work, answer), answer)
        return answer

    def steps(self, work: Iterator[None], *, alone: bool = False, short: bool = False) -> "Future[None]":
        """Run `work` step by step between calls, after the steps before it. Cancelling the answer leaves the rest.

        Args:
            work: what is advanced, on the thread.
            alone: whether no call may be under way meanwhile. Once such steps have earned it none begins, until those
                that have are answered.
            short: whether they take so little that they need not wait for time that is nobody else's.
        """
        steps = _Steps(work, alone)
        with self._changed:
            if not self._steps:
                self._earned_s = 0.0 if short else -self._share * self._first_s
                self._earned_at_s = time.monotonic()
            self._put(self._steps, steps, steps.answer)
        return steps.answer

    def close(self) -> None:
        """Let the thread end after what it is doing; what waits is cancelled."""
        with self._changed:
            self._closed = True
            waiting = [*(answer for _, answer in self._calls), *(steps.answer for steps in self._steps)]
            self._calls.clear()
            self._steps.clear()
            self._changed.notify()
        for answer in waiting:
            answer.cancel()

    def _put(self, queue: deque[Any], item: object, answer: "Future[Any]") -> None:
        with self._changed:
            if self._closed:
                answer.cancel()
                return
            queue.append(item)
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (turn := self._turn) is None:
                    self._changed.wait(self._until_earned_s)
                if self._closed:
                    return
                call = self._calls.popleft() if turn == "call" else None
                free = not (self._calls or self._under_way)
            if call is not None:
                self._begin(*call)
            else:
                began_s = time.thread_time()
                self._step()
                self._spend(time.thread_time() - began_s, free=free)

    @property
    def _turn(self) -> Literal["call", "step"] | None:
        """Whose turn it is; nobody's while steps wait for what is under way, or nothing waits."""
        if not self._steps:
            return "call" if self._calls else None
        earned = self._earn() > 0
        if self._calls and not earned:
            return "call"
        return "step" if not self._under_way or (earned and not self._steps[0].alone) else None

    @property
    def _until_earned_s(self) -> float | None:
        """In how long steps that wait will have earned to run beside what is under way."""
        if not self._steps or self._steps[0].alone or not self._share:
            return None
        return max(0.0, -self._earned_s / self._share)

    def _earn(self) -> float:
        now = time.monotonic()
        self._earned_s += self._share * (now - self._earned_at_s)
        self._earned_at_s = now
        return self._earned_s

    def _spend(self, seconds: float, *, free: bool) -> None:
        """A step has taken so long; in time that was nobody else's it costs no more than has been earned."""
        with self._changed:
            before = self._earned_s
            left = self._earn() - seconds
            self._earned_s = max(left, min(before, 0.0)) if free else left

    def _step(self) -> None:
        with self._changed:
            if not self._steps:
                return
            steps = self._steps[0]
        answer, ended = steps.answer, steps.answer.cancelled()
        error: BaseException | None = None
        try:
            if not ended:
                next(steps.work)
        except StopIteration:
            ended = True
        except BaseException as raised:
            ended, error = True, raised
        if not ended:
            return
        with self._changed:
            if self._steps and self._steps[0] is steps:
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


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    work: Iterator[None]
    alone: bool
    answer: "Future[None]" = field(default_factory=Future)


def _settle(answer: "Future[T]", found: "Future[T]") -> None:
    error = found.exception()
    if error is None:
        answer.set_result(found.result())
    else:
        answer.set_exception(error)
