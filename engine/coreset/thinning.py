"""What stays of a memory bank that has outgrown its budget: the core, which proves the radius, and others by distance.

The core is thinned by the doubling rule (`coreset.online`), which may leave few rows of thousands: enough to
prove that every patch lies near one, too few to inspect by. So what the core does not take of the budget goes to the
other rows, farthest first. They can only bring patches nearer, and decide nothing about the core.
"""

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.centre_distances import CentreDistances
from patchline.engine.numerics.integer_distances import separated
from patchline.engine.types import Rows

FREED = 4
"""A thinning leaves one in so many of the budget's rows free, for what is learned next."""
REFILL_BLOCK = 512
"""The farthest rows among which the next to stay are found at a time."""


def doubled(rows: Rows, core: NDArray[np.int64], sq_radius: int, budget: int) -> tuple[NDArray[np.int64], int]:
    """The core of the rows and its squared radius, which doubles while the core is larger than the budget.

    Args:
        rows: int16 (M, D).
        core: int64 (K,), ascending: rows more than the radius apart.
        sq_radius: the squared radius before, in the integers' units.
        budget: rows that the core may hold.
    """
    while len(core) > budget:
        sq_radius = max(4 * sq_radius, 1)
        core = separated(rows, sq_radius)
    return core, sq_radius


def refill_steps(rows: Rows, core: NDArray[np.int64], budget: int) -> Generator[None, None, NDArray[np.int64]]:
    """The rows that stay, ascending, int64 (K,): the core, and others farthest first, to three quarters of the budget.

    Fewer stay only where the others equal rows that do. Works in steps.

    Args:
        rows: int16 (M, D).
        core: int64, the rows that stay in any case.
        budget: rows that may be kept.
    """
    wanted = budget - budget // FREED
    stay = np.zeros(len(rows), dtype=bool)
    stay[core] = True
    distances = CentreDistances(rows)
    distances.add(core)
    count = len(core)
    while count < wanted:
        block = _next(distances, wanted - count)
        if not len(block):
            break
        distances.add(block)
        stay[block] = True
        count += len(block)
        yield
    return np.flatnonzero(stay)


def _next(distances: CentreDistances, wanted: int) -> NDArray[np.int64]:
    """The rows to stay next, in greedy order; none where all others equal one that stays."""
    block, sq, bar = distances.top(REFILL_BLOCK)
    mutual = distances.sq_mutual(block)
    chosen: list[int] = []
    while len(chosen) < wanted and len(block):
        best = int(sq.argmax())
        if sq[best] <= max(bar, 0.0):
            break
        chosen.append(int(block[best]))
        np.minimum(sq, mutual[best], out=sq)
    if not chosen:
        farthest, sq_farthest = distances.farthest()
        chosen = [farthest] if sq_farthest > 0 else []
    return np.array(chosen, dtype=np.int64)
