"""One frame on each core: worker threads that compute with one thread each.

Cores that share one frame wait for each other at every layer; cores with a frame of their own do not. So a batch is
spread over the cores frame by frame, and what one frame costs besides the network overlaps with the next one's network.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from threading import Barrier, Lock
from typing import Any, TypeVar

import torch

from patchline.engine.numerics.faiss_library import faiss

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cores:
    """`count` worker threads in which torch and FAISS compute with one thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers = ThreadPoolExecutor(count, thread_name_prefix="patchline-core")
        self._turn = Lock()
        self._under_way = 0
        self._idle_since_s = self._took_s = 0.0
        everyone = Barrier(count + 1)

        def start() -> None:
            # The number is a thread's own once it has asked for it; torch also notes it for the whole process, which is
            # put right below.
            torch.get_num_threads()
            torch.set_num_threads(1)
            faiss.omp_set_num_threads(1)
            everyone.wait()

        for _ in range(count):
            self._workers.submit(start)
        everyone.wait()
        torch.set_num_threads(count)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`work` of every item, in order; the first error is raised."""
        return [part.result() for part in [self._submit(work, item) for item in items]]

    def begin(self, work: Callable[[Item], Result], items: Sequence[Item]) -> "Future[list[Result]]":
        """The same without waiting for it; what is begun later follows on each core without a pause."""
        answer: Future[list[Result]] = Future()
        left, turn = len(items), Lock()

        def one_done(_: "Future[Result]") -> None:
            nonlocal left
            with turn:
                left -= 1
                if left:
                    return
            try:
                found = [done.result() for done in parts]
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(found)

        parts = [self._submit(work, item) for item in items]
        for part in parts:
            part.add_done_callback(one_done)
        return answer

    def begin_one(self, work: Callable[[], Result]) -> "Future[Result]":
        """`work` on the core that is free first, after what waits."""
        return self._submit(work)

    @property
    def at_leisure(self) -> bool:
        """Whether all have been idle for longer than the last item took: by shared work nothing would be held up."""
        with self._turn:
            return not self._under_way and time.monotonic() - self._idle_since_s > self._took_s

    def together(self, work: Callable[[], Result]) -> Result:
        """`work` that uses all cores, by the thread that calls."""
        try:
            return work()
        finally:
            with self._turn:
                self._idle_since_s = time.monotonic()

    def _submit(self, work: Callable[..., Result], *items: Any) -> "Future[Result]":
        with self._turn:
            self._under_way += 1
        return self._workers.submit(self._noted, work, *items)

    def _noted(self, work: Callable[..., Result], *items: Any) -> Result:
        began_s = time.monotonic()
        try:
            return work(*items)
        finally:
            with self._turn:
                self._under_way -= 1
                self._idle_since_s = time.monotonic()
                self._took_s = self._idle_since_s - began_s


@lru_cache(maxsize=1)
def cores(count: int) -> Cores:
    """Workers for `count` cores, the same for everyone in the process."""
    return Cores(count)


def spread(work: Callable[[Item], Result], items: Sequence[Item], alike: Callable[[], bool]) -> list[Result]:
    """`work` of every item, in order, on all cores.

    Args:
        work: computes with as many threads as its thread has.
        items: of about equal cost.
        alike: whether `work` gives the same result with one thread and with all; if not, one thread it is.
    """
    count = torch.get_num_threads()
    if count == 1:
        return [work(item) for item in items]
    apart, together = shares(len(items), count)
    if together and not alike():
        apart = len(items)
    first = cores(count).map(work, items[:apart]) if apart else []
    return [*first, *(work(item) for item in items[apart:])]


def begin(work: Callable[[Item], Result], items: Sequence[Item], alike: Callable[[], bool]) -> "Future[list[Result]]":
    """`spread` without waiting where every item has a core of its own; else it is done when this returns.

    While items follow each other closely, those that `spread` would share get a core each: shared, they would take more
    of the cores' time, and what comes next would wait.
    """
    count = torch.get_num_threads()
    if count > 1 and items:
        workers = cores(count)
        if not shares(len(items), count)[1] or not workers.at_leisure:
            return workers.begin(work, items)
        return finished(lambda: workers.together(lambda: spread(work, items, alike)))
    return finished(lambda: spread(work, items, alike))


def begin_one(work: Callable[[], Result]) -> "Future[Result]":
    """`work` on one core, with one thread; where there is one, it is done when this returns."""
    count = torch.get_num_threads()
    return cores(count).begin_one(work) if count > 1 else finished(work)


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """The thread that calls computes with so many threads meanwhile."""
    count = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def on_one_core(steps: Iterator[None]) -> Iterator[None]:
    """The same steps, each with one thread."""
    while True:
        with computing_with(1):
            try:
                next(steps)
            except StopIteration:
                return
        yield


def finished(work: Callable[[], Result]) -> "Future[Result]":
    """The answer of `work`, which is done first; its error is raised."""
    answer: Future[Result] = Future()
    answer.set_result(work())
    return answer


def shares(frames: int, count: int) -> tuple[int, int]:
    """How many of a batch's frames run one to a core, and how many of the last ones run on all cores together.

    A rest that would leave half of the cores or more idle is shared by all of them.
    """
    rest = frames % count
    together = rest if 2 * rest <= count else 0
    return frames - together, together
