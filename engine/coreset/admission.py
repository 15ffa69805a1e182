"""Admission: which of a frame's patches join a memory bank, farthest first.

Exact distances to the bank are needed only of patches that join. So the farthest patches are taken by upper bounds, as
an inspection has found them, and those taken are measured together. Where a bound was too high, the choice is made
again from the new bounds. That is exact: a patch whose exact distance is no less than the bounds of all others is the
farthest.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.numerics.matmul import product
from patchline.engine.types import Rows

Measure: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""The exact squared distances to the bank of some patches, by their numbers."""
MUTUAL_BLOCK = 16
"""Patches whose distances to all others are made by one product."""
HELD_VALUES = 2**22
"""Distances among patches that are held at a time, twice: 64 MiB, however many patches a frame has."""


def admit(
    patches: Rows, sq: NDArray[np.float64], sq_radius: int, most: int, measure: Measure | None = None
) -> NDArray[np.int64]:
    """While a patch lies farther from the bank and from those that join than the radius, the farthest joins.

    Args:
        patches: int16 (P, D).
        sq: float64 (P,), squared distances to the bank; upper bounds of them where `measure` is given.
        sq_radius: squared radius.
        most: stop when so many have joined.
        measure: finds exact distances, where those of `sq` are bounds.

    Returns:
        Patches in the order of joining, int64 (J,); the lowest of equally far ones goes first.
    """
    mutual = _Mutual(patches)
    exact = np.full(len(sq), measure is None)
    joined: list[int] = []
    together = max(1, HELD_VALUES // max(1, len(sq)))
    while len(joined) < most:
        picked, sq_at = _farthest_first(mutual, sq, sq_radius, min(together, most - len(joined)))
        if not len(picked):
            break
        right = len(picked)
        sq = sq_at[right]
        doubtful = picked[~exact[picked]]
        if measure is not None and len(doubtful):
            exact[doubtful] = True
            lower = np.full(len(sq), np.inf)
            lower[doubtful] = measure(doubtful)
            wrong = lower[picked] < np.array([distances[n] for distances, n in zip(sq_at, picked, strict=False)])
            right = int(wrong.argmax()) if wrong.any() else right
            sq = np.minimum(sq_at[right], lower)
        joined += picked[:right].tolist()
    return np.array(joined, dtype=np.int64)


def _farthest_first(
    mutual: "_Mutual", sq: NDArray[np.float64], sq_radius: int, most: int
) -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
    """Patches farthest first, int64 (J,), and the distances before each and after the last, J + 1 times (P,)."""
    picked: list[int] = []
    sq_at = [sq]
    while len(sq) and len(picked) < most:
        best = int(sq.argmax())  # the lowest among equals
        if sq[best] <= sq_radius:
            break
        picked.append(best)
        sq = np.minimum(sq, mutual.sq_from(best, sq))
        sq_at.append(sq)
    return np.array(picked, dtype=np.int64), sq_at


class _Mutual:
    """Exact squared distances among patches, int16 (P, D), made as they are asked for."""

    def __init__(self, patches: Rows) -> None:
        self._values = patches.astype(np.float64)
        self._norms = np.einsum("pd,pd->p", self._values, self._values)
        self._made: dict[int, NDArray[np.float64]] = {}

    def sq_from(self, patch: int, sq: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared distances of one patch to all, float64 (P,).

        Those of the patches that are farthest by `sq` are made with it, as they may be asked for next.
        """
        if patch not in self._made:
            if len(self._made) * len(sq) > HELD_VALUES:
                self._made.clear()
            size = min(MUTUAL_BLOCK, len(sq))
            block = [n for n in np.argpartition(sq, len(sq) - size)[-size:].tolist() if n not in self._made]
            if patch not in block:
                block.append(patch)
            sums = product(self._values[block], self._values.T)
            sums *= -2
            sums += self._norms
            sums += self._norms[block, None]
            self._made.update(zip(block, sums, strict=True))
        return self._made[patch]
