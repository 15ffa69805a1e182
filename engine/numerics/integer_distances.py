"""Squared distances between stored vectors as exact integers, the same on any machine.

Vectors are int16, so a squared distance is an integer that float64 holds exactly in any order of summation
(D * 2^32 < 2^53).
"""

import numpy as np

from patchline.engine.numerics.matmul import product
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.types import Doubles, Indices, Rows

ROW_BLOCK = 2048
TOGETHER = 256
"""Patches compared at a time, so that what lies between the steps stays in the cache."""


def sq_to_nearest(patches: Rows, rows: Rows, norms: Doubles | None = None) -> tuple[Doubles, Indices]:
    """Squared distance of each of `patches`, int16 (P, D), to the nearest of `rows`, int16 (M, D), and that row.

    Returns exact integers, float64 (P,), and the lowest nearest row, int64 (P,); infinity and -1 where there is no row.
    """
    sq = np.full(len(patches), np.inf)
    nearest = np.full(len(patches), -1, dtype=np.int64)
    if not len(patches):
        return sq, nearest
    X = patches.astype(np.float64)
    for start in range(0, len(rows), ROW_BLOCK):
        Y = rows[start : start + ROW_BLOCK].astype(np.float64)
        sq_Y = sq_norms(rows[start : start + ROW_BLOCK]) if norms is None else norms[start : start + ROW_BLOCK]
        proposed = product(X, Y.T)
        proposed *= -2
        proposed += sq_Y
        best = proposed.argmin(1)
        value = proposed[np.arange(len(X)), best]
        nearer = value < sq
        sq[nearer] = value[nearer]
        nearest[nearer] = best[nearer] + start
    return sq + np.einsum("pd,pd->p", X, X), nearest


class ScreenedRows:
    """Rows, int16 (M, D), as float32 too, whose products are faster: they rule out what their error bound allows.

    `sq_norms` is float64 (M,), the rows' squared lengths.
    """

    def __init__(self, rows: Rows, sq_norms: Doubles) -> None:
        self._rows = rows
        self._screen = rows.astype(np.float32)
        self._norms = sq_norms.astype(np.float32)
        self._largest = float(np.sqrt(sq_norms.max()))

    def sq_below(self, sq: Doubles, patches: Rows) -> Doubles:
        """What `sq_to_nearest` gives as distances, float64 (P,), from upper bounds on them that are nearly right.

        Args:
            sq: float64 (P,), the squared distance of each patch to some row.
            patches: int16 (P, D).
        """
        found = sq.copy()
        patch_of, row_of = self.pairs_within(sq, patches, sq_norms(patches))
        np.minimum.at(found, patch_of, sq_integer_pairs(patches[patch_of], self._rows[row_of]))
        return found

    def sq_at_least(self, patches: Rows, sq_patches: Doubles) -> Doubles:
        """Lower bounds on the squared distances to the nearest row, nearly right, float64 (P,); see `pairs_within`."""
        nearest = np.empty(len(patches))
        for start in range(0, len(patches), ROW_BLOCK):
            queries = patches[start : start + ROW_BLOCK].astype(np.float32)
            queries *= -2
            bounds = product(queries, self._screen.T)
            bounds += self._norms
            nearest[start : start + ROW_BLOCK] = bounds.min(1)
        return nearest + sq_patches - self._slack(patches.shape[1], sq_patches)

    def pairs_within(self, sq: Doubles, patches: Rows, sq_patches: Doubles) -> tuple[Indices, Indices]:
        """All pairs of a patch and a row that may lie within `sq`, and few others: patches and rows, int64 (n,) each.

        Args:
            sq: float64 (P,), a squared distance for each patch.
            patches: int16 (P, D).
            sq_patches: float64 (P,), their squared lengths.
        """
        limit = (sq - sq_patches + self._slack(patches.shape[1], sq_patches)).astype(np.float32)
        found = []
        for start in range(0, len(patches), TOGETHER):
            queries = patches[start : start + TOGETHER].astype(np.float32)
            queries *= -2
            bounds = product(queries, self._screen.T)
            bounds += self._norms
            near = np.flatnonzero(bounds <= limit[start : start + TOGETHER, None])
            found.append(near + start * len(self._rows))
        patch_of, row_of = np.divmod(np.concatenate(found) if found else np.empty(0, np.int64), len(self._rows))
        return patch_of, row_of

    def _slack(self, dimensions: int, sq_patches: Doubles) -> Doubles:
        """What float32 may err by: a sum of n products by at most n u times the sum of their sizes, which is at most
        (|x| + |r|)^2; twice that is allowed, for the roundings before and after.
        """
        slack: Doubles = 2 * (dimensions + 8) * UNIT * (np.sqrt(sq_patches) + self._largest) ** 2
        return slack


def separated(rows: Rows, sq_radius: int) -> Indices:
    """Rows to keep, first come first kept, so that all lie farther apart than the radius: int64, ascending."""
    stay = np.ones(len(rows), dtype=bool)
    for start in range(0, len(rows), ROW_BLOCK):
        block = rows[start : start + ROW_BLOCK]
        kept_before = np.flatnonzero(stay[:start])
        stay[start : start + len(block)] = sq_to_nearest(block, rows[kept_before])[0] > sq_radius
        X = block.astype(np.float64)
        norms = sq_norms(block)
        near = norms[:, None] + norms - 2 * product(X, X.T) <= sq_radius
        for i in range(len(block)):
            if stay[start + i]:
                stay[start + i + 1 : start + len(block)] &= ~near[i, i + 1 :]
    return np.flatnonzero(stay)


def sq_norms(rows: Rows) -> Doubles:
    """Squared lengths of int16 (N, D): exact integers, float64 (N,)."""
    values = rows.astype(np.float64)
    norms: Doubles = np.einsum("nd,nd->n", values, values)
    return norms


def sq_integer_pairs(patches: Rows, rows: Rows) -> Doubles:
    """Squared distances of patches to one row each, both int16 (P, D): exact integers, float64 (P,)."""
    difference = patches.astype(np.float64) - rows
    sq: Doubles = np.einsum("pd,pd->p", difference, difference)
    return sq
