"""One frame on each core: worker threads that compute with one thread each.

Cores that share one frame wait for each other at every layer; cores with a frame of their own do not. So a batch is
spread over the cores frame by frame, and what one frame costs besides the network overlaps with the next one's network.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import faiss
import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Cores:
    """`count` worker threads in which torch and FAISS compute with one thread."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers = ThreadPoolExecutor(count, thread_name_prefix="patchline-core")
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
        return list(self._workers.map(work, items))


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


def shares(frames: int, count: int) -> tuple[int, int]:
    """How many of a batch's frames run one to a core, and how many of the last ones run on all cores together.

    A rest that would leave half of the cores or more idle is shared by all of them.
    """
    rest = frames % count
    together = rest if 2 * rest <= count else 0
    return frames - together, together
