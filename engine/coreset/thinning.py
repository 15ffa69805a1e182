"""What stays of a memory bank that has outgrown its budget: the core, which proves the radius, and others by distance.

The core is thinned by the doubling rule (`coreset.online`), which may leave few rows of thousands: enough to
prove that every patch lies near one, too few to inspect by. So what the core does not take of the budget goes to the
other rows, farthest first. They can only bring patches nearer, and decide nothing about the core.

Folds are thinned each by itself, by one radius, and share what is free in proportion to their rows: what stays of a
fold hangs on no row of another, and none is starved.
"""

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.centre_distances import CentreDistances
from patchline.engine.numerics.integer_distances import separated
from patchline.engine.types import Indices, Rows

FREED = 4
"""A thinning leaves one in so many of the budget's rows free, for what is learned next."""
REFILL_BLOCK = 512
"""The farthest rows among which the next to stay are found at a time."""


def cores(rows: Rows, row_fold: NDArray[np.int32], sq_apart: int) -> Indices:
    """Of each fold the rows that lie farther apart than this, squared: in their order, each stays unless one is near.

    Args:
        rows: int16 (M, D).
        row_fold: int32 (M,), the fold of each.
        sq_apart: in the integers' units; -1 lets equal rows stay.

    Returns:
        Their numbers, int64, ascending.
    """
    kept = [numbers[separated(rows[numbers], sq_apart)] for numbers in _folds(row_fold)]
    return np.sort(np.concatenate(kept))


def doubled(
    rows: Rows, core: Indices, sq_radius: int, budget: int, row_fold: NDArray[np.int32] | None = None
) -> tuple[Indices, int]:
    """The core of the rows and its squared radius, which doubles while the core is larger than the budget.

    Args:
        rows: int16 (M, D).
        core: int64 (K,), ascending: rows more than the radius apart, within each fold.
        sq_radius: the squared radius before, in the integers' units.
        budget: rows that the core may hold, as many as there are folds or more.
        row_fold: int32 (M,), the fold of each row; one fold where it is None.
    """
    row_fold = np.zeros(len(rows), dtype=np.int32) if row_fold is None else row_fold
    while len(core) > budget:
        sq_radius = max(4 * sq_radius, 1)
        core = cores(rows, row_fold, sq_radius)
    return core, sq_radius


def refill_steps(
    rows: Rows, core: Indices, budget: int, row_fold: NDArray[np.int32] | None = None
) -> Generator[None, None, Indices]:
    """The rows that stay, ascending, int64 (K,): the core, and others farthest first, to three quarters of the budget.

    Folds share what the core leaves of that. Fewer stay only where the others equal rows that do. Works in steps.

    Args:
        rows: int16 (M, D).
        core: int64, the rows that stay in any case.
        budget: rows that may be kept.
        row_fold: int32 (M,), the fold of each row; one fold where it is None.
    """
    row_fold = np.zeros(len(rows), dtype=np.int32) if row_fold is None else row_fold
    stay = np.zeros(len(rows), dtype=bool)
    stay[core] = True
    folds = _folds(row_fold)
    free = max(0, budget - budget // FREED - len(core))
    shares = shared(free, [len(own) for own in folds], [int((~stay[own]).sum()) for own in folds])
    for own, share in zip(folds, shares, strict=True):
        distances = CentreDistances(rows if len(folds) == 1 else rows[own])
        distances.add(np.flatnonzero(stay[own]))
        left = share
        while left:
            block = _next(distances, left)
            if not len(block):
                break
            distances.add(block)
            stay[own[block]] = True
            left -= len(block)
            yield
    return np.flatnonzero(stay)


def shared(total: int, sizes: Sequence[int], most: Sequence[int]) -> list[int]:
    """Share a whole number in proportion to sizes; what one cannot take goes to the others.

    By largest remainders, the first of equal ones, so in integers alone.

    Args:
        total: to be shared, 0 or more.
        sizes: above 0.
        most: that each can take.

    Returns:
        What each gets: `total` together, or all that they can take.
    """
    shares = [0] * len(sizes)
    while total and (takers := [n for n, share in enumerate(shares) if share < most[n]]):
        whole = sum(sizes[n] for n in takers)
        given = {n: total * sizes[n] // whole for n in takers}
        by_remainder = sorted(takers, key=lambda n: (-(total * sizes[n] % whole), n))
        for n in by_remainder[: total - sum(given.values())]:
            given[n] += 1
        for n, more in given.items():
            taken = min(more, most[n] - shares[n])
            shares[n] += taken
            total -= taken
    return shares


def _folds(row_fold: NDArray[np.int32]) -> list[Indices]:
    """The numbers of each fold's rows, int64 ascending, the lowest fold first."""
    return [np.flatnonzero(row_fold == fold) for fold in np.unique(row_fold)]


def _next(distances: CentreDistances, wanted: int) -> Indices:
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
