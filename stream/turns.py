"""A thread that serves two kinds of work by turns: calls, which never wait, and steps of learning between them.

While none waits, steps follow one another, and a call that comes waits for the one that is running. While calls wait,
steps have a few milliseconds after each of them, so that learning goes on under full load as well.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
STEPS_S = 0.02
"""Time for steps after each call, in seconds: at least one, and none begins later."""


class Turns:
    """One thread, started with the first work and ended by `close`.

    Args:
        name: of the thread.
        steps_s: time for steps after each call while others wait, in seconds; 0: one step.
    """

    def __init__(self, name: str, steps_s: float = STEPS_S) -> None:
        self._steps_s = steps_s
        self._steps_until = 0.0
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._steps: deque[tuple[Iterator[None], Future[None]]] = deque()
        self._owed = False
        """Whether it is the steps' turn: a call has run, and their time since is not over."""
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def call(self, work: Callable[[], T]) -> "Future[T]":
        """Run `work` after the calls before it."""
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
                self._changed.wait_for(lambda: self._calls or self._steps or self._closed)
                if self._closed:
                    return
                calls = bool(self._calls) and not (self._steps and self._owed)
                item = self._calls.popleft() if calls else None
            if item is not None:
                _run(*item)
                self._owed, self._steps_until = True, time.monotonic() + self._steps_s
            else:
                self._step()
                self._owed = time.monotonic() < self._steps_until

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
        if not answer.cancelled():
            _settle(answer, error)


def _run(work: Callable[[], Any], answer: "Future[Any]") -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        found = work()
    except BaseException as error:
        answer.set_exception(error)
    else:
        answer.set_result(found)


def _settle(answer: "Future[None]", error: BaseException | None) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
