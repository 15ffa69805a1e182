"""Loops that the processor's own instructions run: compiled by numba when they are first called, for this processor.

What a frame's search does between two matrix products is many small steps. In numpy each of them waits for the
interpreter, and every core's frame waits for every other's. Compiled they are one call that holds no lock.

LLVM writes what the processor has: AVX2, AVX-512 or NEON. NUMBA_CPU_NAME names another one, as `haswell`.
"""

from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar, cast

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

_SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz", "nnan"}
"""Sums may be taken in any order, and every value is a number."""


def compiled(function: Function) -> Function:
    """`function` in machine code that holds no lock of the interpreter; it takes arrays and numbers, none of them NaN.

    What was compiled is kept on the disk for the next process, where numba finds a folder that it may write to.
    """
    try:
        made = numba.njit(cache=True, nogil=True, fastmath=_SUMS_IN_ANY_ORDER)(function)
    except RuntimeError:  # it finds no such folder
        made = numba.njit(nogil=True, fastmath=_SUMS_IN_ANY_ORDER)(function)
    return cast(Function, made)


def load_ahead() -> Thread:
    """Load, on a thread of its own, what numba loads when the first compiled loop is called; the thread is returned.

    That takes the better part of a second, once in a process: a fit has it done while images are read.
    """
    thread = Thread(target=_nothing, args=(np.empty(0, np.int64),), name="load-numba", daemon=True)
    thread.start()
    return thread


@compiled
def _nothing(values: Any) -> int:
    return len(values)
