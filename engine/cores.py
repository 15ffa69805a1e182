"""One frame on each core: worker threads that compute with one thread each.

Cores that share one frame wait for each other at every layer; cores with a frame of their own do not. So a batch is
spread over the cores frame by frame, and what one frame costs besides the network overlaps with the next one's network.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import repeat
from threading import Barrier, Lock
from typing import Any, TypeVar

import faiss
import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cores:
    """`count` worker threads in which torch and FAISS compute with one thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers = ThreadPoolExecutor(count, thread_name_prefix="patchline-core")
        self._next: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
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
        return list(self._workers.map(self._after_next, repeat(work), items))

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

        parts = [self._workers.submit(self._after_next, work, item) for item in items]
        for part in parts:
            part.add_done_callback(one_done)
        return answer

    def next(self, work: Callable[[], Result]) -> "Future[Result]":
        """`work` on the core that is free first, before all items that wait."""
        answer: Future[Result] = Future()
        self._next.append((work, answer))
        self._workers.submit(self._run_next)
        return answer

    def _after_next(self, work: Callable[[Item], Result], item: Item) -> Result:
        self._run_next()
        return work(item)

    def _run_next(self) -> None:
        while self._next:
            try:
                work, answer = self._next.popleft()
            except IndexError:  # another core has taken it
                return
            try:
                found = work()
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(found)


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
    """`spread` without waiting where every item has a core of its own; else it is done when this returns."""
    count = torch.get_num_threads()
    if count > 1 and items and not shares(len(items), count)[1]:
        return cores(count).begin(work, items)
    return finished(lambda: spread(work, items, alike))


def begin_next(work: Callable[[], Result]) -> "Future[Result]":
    """`work` on one core, with one thread, before all items that wait for a core; where there is one, it is done when
    this returns.
    """
    count = torch.get_num_threads()
    return cores(count).next(work) if count > 1 else finished(work)


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
