"""One frame on each core: worker threads that compute with one thread each.

Cores that share one frame wait for each other at every layer; cores with a frame of their own do not. So a batch is
spread over the cores frame by frame, and what one frame costs besides the network overlaps with the next frame's
network. Where a core gets several frames of a batch, it may take some of them together (`runs`).

`spread` and `spread_runs` wait for their results, `spread_async` and `spread_runs_async` give a future of them, and
`submit` gives one of a single piece of work. All of them use one pool a process (`shared_pool`) of as many threads as
torch computes with.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from threading import Barrier, Lock
from typing import Any, TypeVar

import torch

from patchline.engine.numerics.faiss_library import faiss
from patchline.engine.numerics.runs import in_order, runs_of

Input = TypeVar("Input")
Output = TypeVar("Output")
Changed = TypeVar("Changed")


class CorePool:
    """`count` worker threads in which torch and FAISS compute with one thread."""

    def __init__(self, count: int) -> None:
        self._workers = ThreadPoolExecutor(count, thread_name_prefix="patchline-core")
        self._lock = Lock()
        self._under_way = 0
        self._idle_since_s = self._took_s = 0.0
        all_started = Barrier(count + 1)

        def start() -> None:
            # Torch keeps a number of threads for each thread, but only once that thread has asked for it. Setting it
            # also changes the number of the whole process, which is put right below.
            torch.get_num_threads()
            torch.set_num_threads(1)
            faiss.omp_set_num_threads(1)
            all_started.wait()

        for _ in range(count):
            self._workers.submit(start)
        all_started.wait()
        torch.set_num_threads(count)

    def map(self, work: Callable[[Input], Output], items: Iterable[Input]) -> list[Output]:
        """The results of `work` for every item, in order; the first error is raised."""
        return [future.result() for future in [self._queue(work, item) for item in items]]

    def map_async(
        self, work: Callable[[Input], Output], items: Sequence[Input], frames: Callable[[Input], int] = lambda _: 1
    ) -> "Future[list[Output]]":
        """A future of what `map` returns; `frames` says how many of them an item is.

        Cores do not wait for each other: one that has finished goes on with whatever was asked for next.
        """
        results: Future[list[Output]] = Future()
        left, lock = len(items), Lock()

        def one_done(_: "Future[Output]") -> None:
            nonlocal left
            with lock:
                left -= 1
                if left:
                    return
            try:
                in_order = [future.result() for future in futures]
            except BaseException as error:
                results.set_exception(error)
            else:
                results.set_result(in_order)

        futures = [self._queue(work, item, frames=frames(item)) for item in items]
        for future in futures:
            future.add_done_callback(one_done)
        return results

    def submit(self, work: Callable[[], Output]) -> "Future[Output]":
        """A future of `work`, which runs on the core that is free first, after whatever waits already."""
        return self._queue(work)

    @property
    def idle(self) -> bool:
        """Whether all cores have been idle for longer than the last frame took: none seems to be close behind."""
        with self._lock:
            return not self._under_way and time.monotonic() - self._idle_since_s > self._took_s

    def run_shared(self, work: Callable[[], Output]) -> Output:
        """Run `work`, which uses all cores, in the calling thread; the cores count as idle from its end."""
        try:
            return work()
        finally:
            with self._lock:
                self._idle_since_s = time.monotonic()

    def _queue(self, work: Callable[..., Output], *items: Any, frames: int = 1) -> "Future[Output]":
        with self._lock:
            self._under_way += 1
        return self._workers.submit(self._timed, frames, work, *items)

    def _timed(self, frames: int, work: Callable[..., Output], *items: Any) -> Output:
        began_s = time.monotonic()
        try:
            return work(*items)
        finally:
            with self._lock:
                self._under_way -= 1
                self._idle_since_s = time.monotonic()
                self._took_s = (self._idle_since_s - began_s) / frames


@lru_cache(maxsize=1)
def shared_pool(count: int) -> CorePool:
    """The process's one pool of `count` threads; asking for another number makes a new one."""
    return CorePool(count)


def spread(work: Callable[[Input], Output], items: Sequence[Input], alike: Callable[[], bool]) -> list[Output]:
    """Compute every item, one to a core as far as they fill the cores, and a small rest on all cores together.

    Args:
        work: computes one item with as many threads as torch has in the thread that calls it.
        items: of about equal cost.
        alike: whether `work` gives the same bits with one thread and with all of them. It is asked only where a rest
            would be shared; where it says no, the rest goes one to a core too.

    Returns:
        The results, in the items' order.
    """
    return spread_runs(_one_by_one(work), items, alike, range(len(items)))


def spread_runs(
    work: Callable[[Sequence[Input]], Sequence[Output]],
    items: Sequence[Input],
    alike: Callable[[], bool],
    kinds: Sequence[Hashable],
) -> list[Output]:
    """`spread`, where a core may take several items of its own together.

    Args:
        work: computes some items, giving each what it gives it alone, bit for bit.
        items: as for `spread`.
        alike: as for `spread`.
        kinds: of each item; `work` gets items of one kind only.

    Returns:
        The results, in the items' order.
    """
    count = torch.get_num_threads()
    apart, together = shares(len(items), count) if count > 1 else (len(items), 0)
    if together and not alike():
        apart = len(items)
    runs = runs_of(kinds[:apart], count)
    picked = [[items[position] for position in run] for run in runs]
    first = shared_pool(count).map(work, picked) if count > 1 and picked else [work(run) for run in picked]
    return [*in_order(runs, first), *(work([item])[0] for item in items[apart:])]


def spread_async(
    work: Callable[[Input], Output], items: Sequence[Input], alike: Callable[[], bool]
) -> "Future[list[Output]]":
    """`spread`, without waiting where every item has a core of its own; see `spread_runs_async`."""
    return spread_runs_async(_one_by_one(work), items, alike, range(len(items)))


def spread_runs_async(
    work: Callable[[Sequence[Input]], Sequence[Output]],
    items: Sequence[Input],
    alike: Callable[[], bool],
    kinds: Sequence[Hashable],
) -> "Future[list[Output]]":
    """`spread_runs`, without waiting where every item has a core of its own; else the work is done when this returns.

    While items follow each other closely, those that `spread` would share get a core each: shared, they would take more
    of the cores' time, and what comes next would wait.

    Args:
        work: as for `spread_runs`.
        items: as for `spread`.
        alike: as for `spread`.
        kinds: as for `spread_runs`.

    Returns:
        A future of the results, in the items' order.
    """
    count = torch.get_num_threads()
    if count > 1 and items:
        pool = shared_pool(count)
        if not shares(len(items), count)[1] or not pool.idle:
            runs = runs_of(kinds, count)
            picked = [[items[position] for position in run] for run in runs]
            return _then(pool.map_async(work, picked, frames=len), lambda results: in_order(runs, results))
        return finished(lambda: pool.run_shared(lambda: spread_runs(work, items, alike, kinds)))
    return finished(lambda: spread_runs(work, items, alike, kinds))


def submit(work: Callable[[], Output]) -> "Future[Output]":
    """A future of `work` on one core, with one thread; on a machine of one core it is done when this returns."""
    count = torch.get_num_threads()
    return shared_pool(count).submit(work) if count > 1 else finished(work)


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Within the context, torch computes with so many threads in the thread that calls."""
    count = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def on_one_core(steps: Iterator[None]) -> Iterator[None]:
    """The same steps, each of them computed with one thread."""
    while True:
        with computing_with(1):
            try:
                next(steps)
            except StopIteration:
                return
        yield


def finished(work: Callable[[], Output]) -> "Future[Output]":
    """Do `work` now, and return its result as a future that is done; an error is raised at once."""
    result: Future[Output] = Future()
    result.set_result(work())
    return result


def _one_by_one(work: Callable[[Input], Output]) -> Callable[[Sequence[Input]], list[Output]]:
    return lambda run: [work(item) for item in run]


def _then(future: "Future[Output]", change: Callable[[Output], Changed]) -> "Future[Changed]":
    """A future of what `change` makes of another's result; the error of either is its error."""
    changed: Future[Changed] = Future()

    def done(first: "Future[Output]") -> None:
        try:
            result = change(first.result())
        except BaseException as error:
            changed.set_exception(error)
        else:
            changed.set_result(result)

    future.add_done_callback(done)
    return changed


def shares(frames: int, count: int) -> tuple[int, int]:
    """How many of a batch's frames run one to a core, and how many of the last ones run on all cores together.

    A rest that would leave half of the cores or more idle is shared by all of them.
    """
    rest = frames % count
    together = rest if 2 * rest <= count else 0
    return frames - together, together
