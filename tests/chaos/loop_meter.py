"""How long single steps of a worker's event loop take, in processor time, and which they are.

While a step runs nothing else of the loop does: a long one holds up every camera. Processor time of the loop's thread
is measured, and not the clock, so that a busy machine makes no step longer.
"""

import asyncio
import gc
from collections.abc import Callable
from functools import partial
from time import monotonic, thread_time
from typing import Any

METERED = "PATCHLINE_CHAOS_LONG_STEP_S"
"""The variable of a worker's environment that has it measure its steps, and tell those that take so many seconds."""
TOLD_FROM_S = 0.005
LONG_STEP = "long step"


def meter_steps(tell: Callable[..., None], least_s: float) -> None:
    """Measure every step of every event loop of this process from now on, and every garbage collection.

    Args:
        tell: given `event`; and of each step that took at least `least_s`: `what`, `ms`, and `at_s`, the monotonic
            clock at its end.
        least_s: seconds of a processor.
    """
    run = asyncio.Handle._run
    began = [0.0]

    def metered(handle: asyncio.Handle) -> None:
        before_s = thread_time()
        what = handle._callback  # type: ignore[attr-defined] # of the library's own
        run(handle)
        if (took_s := thread_time() - before_s) >= least_s:
            tell(LONG_STEP, what=_name_of(what), ms=round(took_s * 1000, 1), at_s=monotonic())

    def collected(phase: str, told: dict[str, int]) -> None:
        if phase == "start":
            began[0] = thread_time()
        elif (took_s := thread_time() - began[0]) >= least_s:
            what = f"garbage collection of generation {told['generation']}"
            tell(LONG_STEP, what=what, ms=round(took_s * 1000, 1), at_s=monotonic())

    asyncio.Handle._run = metered  # type: ignore[method-assign,assignment]
    gc.callbacks.append(collected)


def _name_of(callback: Any) -> str:
    """A task by its coroutine and those inside which it waits or ended; others by their names."""
    while isinstance(callback, partial):
        callback = callback.func
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(callback, "__qualname__", callback))
    names = list[str]()
    coroutine: Any = task.get_coro()
    while coroutine is not None and len(names) < 6:
        names.append(getattr(coroutine, "__qualname__", type(coroutine).__name__))
        coroutine = getattr(coroutine, "cr_await", None)
    return " > ".join(names)
