"""How long something takes where nothing comes between, for what is chosen by measuring on the machine."""

from collections.abc import Callable
from time import thread_time


def quickest_s(work: Callable[[], object], times: int = 5, clock: Callable[[], float] = thread_time) -> float:
    """The least of the seconds that `work` takes.

    Args:
        work: is done `times` times.
        times: 1 or more.
        clock: in seconds; by default that of this thread, which other work on the machine does not move. Where threads
            help, or are waited for, `time.perf_counter`.
    """
    taken = []
    for _ in range(times):
        started = clock()
        work()
        taken.append(clock() - started)
    return min(taken)
