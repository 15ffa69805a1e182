"""One thread for two kinds of work: calls, which judge frames and go first, and steps of learning between them.

A call may begin what is answered later by other cores; it is then under way, and the next call need not wait for it. A
step is a short piece of learning. Steps run while no call waits and none is under way; a call that comes waits for the
step that is running, at most. Where calls leave no such time, steps earn a share of the time that they wait, and spend
it before calls that wait and beside what is under way, so that learning goes on under full load as well.

Each rule buys a figure of `tests/bench/README.md`:

- steps in time that calls leave, with one core: frames are judged almost as soon as without learning
  (`learning_latency`: at half load p99 is 1.2 times as long);
- the share that waiting steps earn (`SHARE`): a loaded worker still takes a new generation within a second of a tap, an
  operator's confirmation (`tap`: p99 0.82 s); without it learning never ends where frames fill the engine;
- the first wait (`FIRST_S`): steps that come between two batches mostly find free time and cost no frame any (a longer
  one makes taps slower than a second); the swap to a new generation is `short` and skips it;
- `alone`: an exchange that must not happen beside a batch keeps the next batch from beginning, or under load it would
  never find the engine idle.
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
from patchline.stream.support.heartbeat import Heartbeat

Work = TypeVar("Work")
SHARE = 0.35
"""The part of the time that steps wait which they may spend on this thread, in seconds on a core for each second."""
FIRST_S = 0.1
"""How long steps that have just come wait for time that no call wants before they begin to run beside calls."""


class EngineScheduler:
    """One thread, started with the first work and ended by `close`.

    Args:
        name: of the thread.
        share: steps earn so much of the time that they wait; 0: they run only in time that no call wants.
        first_s: steps run beside calls after so long, at the earliest.
    """

    def __init__(self, name: str, share: float = SHARE, first_s: float = FIRST_S) -> None:
        self._share, self._first_s = share, first_s
        self._heart = Heartbeat()
        self._earned_s = 0.0
        """What waiting steps had earned at `_earned_at_s`, less what they have spent; below 0 they owe it."""
        self._earned_at_s = 0.0
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[], Future[Any]], Future[Any]]] = deque()
        self._under_way = 0
        """Calls that have begun and are not answered."""
        self._waiting_steps: deque[_Steps] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def call(self, work: Callable[[], Work]) -> "Future[Work]":
        """Run `work` after the calls before it."""
        return self.begin(lambda: finished(work))

    def begin(self, work: Callable[[], "Future[Work]"]) -> "Future[Work]":
        """Run `work` after the calls before it have run; its answer is that of the future that it returns."""
        answer: Future[Work] = Future()
        self._put(self._calls, (work, answer), answer)
        return answer

    def steps(self, work: Iterator[None], *, alone: bool = False, short: bool = False) -> "Future[None]":
        """Run `work` step by step between calls, after the steps before it. Cancelling the answer leaves the rest.

        Args:
            work: what is advanced, on the thread.
            alone: whether no call may be under way meanwhile. Once such steps have earned it none begins, until those
                that have are answered.
            short: whether they take so little that they need not wait `first_s`.
        """
        steps = _Steps(work, alone)
        with self._changed:
            if not self._waiting_steps:
                self._earned_s = 0.0 if short else -self._share * self._first_s
                self._earned_at_s = time.monotonic()
            self._put(self._waiting_steps, steps, steps.answer)
        return steps.answer

    def watch(self, heart: Heartbeat) -> None:
        """Let a heart beat from now on when a call or step begins or is answered; it rests when nothing is to do."""
        with self._changed:
            self._heart = heart
            self._changed.notify()

    def close(self) -> None:
        """Let the thread end after what it is doing; what waits is cancelled."""
        with self._changed:
            self._closed = True
            waiting = [*(answer for _, answer in self._calls), *(steps.answer for steps in self._waiting_steps)]
            self._calls.clear()
            self._waiting_steps.clear()
            self._changed.notify()
        for answer in waiting:
            answer.cancel()

    def _put(self, queue: deque[Any], item: object, answer: "Future[Any]") -> None:
        with self._changed:
            if self._closed:
                answer.cancel()
                return
            queue.append(item)
            if self._heart.resting:
                self._heart.beat()
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (runs_next := self._runs_next) is None:
                    if not (self._under_way or self._waiting_steps):
                        self._heart.rest()
                    self._changed.wait(self._until_earned_s)
                if self._closed:
                    self._heart.rest()
                    return
                self._heart.beat()
                call = self._calls.popleft() if runs_next == "call" else None
                free = not (self._calls or self._under_way)
            if call is not None:
                self._begin(*call)
            else:
                began_s = time.thread_time()
                self._step()
                self._spend(time.thread_time() - began_s, free=free)

    @property
    def _runs_next(self) -> Literal["call", "step"] | None:
        """What runs next; None while steps wait for what is under way, or nothing waits."""
        if not self._waiting_steps:
            return "call" if self._calls else None
        earned = self._earn() > 0
        if self._calls and not earned:
            return "call"
        return "step" if not self._under_way or (earned and not self._waiting_steps[0].alone) else None

    @property
    def _until_earned_s(self) -> float | None:
        """In how long steps that wait will have earned to run beside what is under way."""
        if not self._waiting_steps or self._waiting_steps[0].alone or not self._share:
            return None
        return max(0.0, -self._earned_s / self._share)

    def _earn(self) -> float:
        now = time.monotonic()
        self._earned_s += self._share * (now - self._earned_at_s)
        self._earned_at_s = now
        return self._earned_s

    def _spend(self, seconds: float, *, free: bool) -> None:
        """A step has taken so long; in time that no call wanted it costs no more than has been earned."""
        with self._changed:
            before = self._earned_s
            left = self._earn() - seconds
            self._earned_s = max(left, min(before, 0.0)) if free else left

    def _step(self) -> None:
        with self._changed:
            if not self._waiting_steps:
                return
            steps = self._waiting_steps[0]
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
            if self._waiting_steps and self._waiting_steps[0] is steps:
                self._waiting_steps.popleft()
        if not answer.cancelled() and answer.set_running_or_notify_cancel():
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(error)

    def _begin(self, work: Callable[[], "Future[Work]"], answer: "Future[Work]") -> None:
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

    def _pass_on(self, answer: "Future[Work]", later: "Future[Work]") -> None:
        self._answered()
        _copy_answer(later, answer)

    def _answered(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._heart.beat()
            self._changed.notify()


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    work: Iterator[None]
    alone: bool
    answer: "Future[None]" = field(default_factory=Future)


def _copy_answer(later: "Future[Work]", answer: "Future[Work]") -> None:
    error = later.exception()
    if error is None:
        answer.set_result(later.result())
    else:
        answer.set_exception(error)
