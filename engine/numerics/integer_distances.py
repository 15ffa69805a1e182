"""Squared distances between stored vectors as exact integers, the same on any machine.

Vectors are int16, so a squared distance is an integer that float64 holds exactly in any order of summation
(D * 2^32 < 2^53).
"""

import numpy as np

from patchline.engine.numerics.matmul import product
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.types import Doubles, Indices, Rows

ROW_BLOCK = 2048
"""Rows compared at a time, as float64."""
PATCH_BLOCK, BLOCK_BOUNDS = 256, 2**16
"""Patches compared at a time, or as many as have so many bounds: what one step leaves to the next stays in cache."""


def sq_to_nearest(patches: Rows, rows: Rows, norms: Doubles | None = None) -> tuple[Doubles, Indices]:
    """Find the row nearest to each patch.

    Args:
        patches: int16 (P, D).
        rows: int16 (M, D).
        norms: the rows' squared lengths, float64 (M,), where they are known.

    Returns:
        Squared distances, exact integers in float64 (P,), and the lowest of the nearest rows, int64 (P,); infinity and
        -1 where there is no row.
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
    """Rows that are also kept as float32: the quicker products rule out rows, by a bound on their error.

    Args:
        rows: int16 (M, D).
        sq_norms: float64 (M,), their squared lengths.
    """

    def __init__(self, rows: Rows, sq_norms: Doubles) -> None:
        self._rows = rows
        self._floats = rows.astype(np.float32)
        self._norms = sq_norms.astype(np.float32)
        self._largest = float(np.sqrt(sq_norms.max()))

    def sq_below(self, sq: Doubles, patches: Rows) -> Doubles:
        """What `sq_to_nearest` gives as distances, float64 (P,), from upper bounds on them that are nearly right.

        Args:
            sq: float64 (P,), the squared distance of each patch to some row.
            patches: int16 (P, D).
        """
        nearest = sq.copy()
        patch_of, row_of = self.pairs_within(sq, patches, sq_norms(patches))
        np.minimum.at(nearest, patch_of, sq_integer_pairs(patches[patch_of], self._rows[row_of]))
        return nearest

    def sq_at_least(self, patches: Rows, sq_patches: Doubles) -> Doubles:
        """Lower bounds on the squared distances to the nearest row, nearly right, float64 (P,); see `pairs_within`."""
        nearest = np.empty(len(patches))
        for start in range(0, len(patches), ROW_BLOCK):
            queries = patches[start : start + ROW_BLOCK].astype(np.float32)
            queries *= -2
            bounds = product(queries, self._floats.T)
            bounds += self._norms
            nearest[start : start + ROW_BLOCK] = bounds.min(1)
        return nearest + sq_patches - self._slack(patches.shape[1], sq_patches)

    def farthest(self, patches: Rows, count: int) -> tuple[Indices, Doubles, Indices]:
        """Find the patches that lie farthest from the rows; of equally far ones the lowest.

        Args:
            patches: int16 (P, D).
            count: how many; all where they are fewer.

        Returns:
            Their numbers, int64 (count,) ascending, and what `sq_to_nearest` gives for them: exact squared distances,
            float64 (count,), and the lowest of the nearest rows, int64 (count,).
        """
        norms = sq_norms(patches)
        lower = self.sq_at_least(patches, norms)
        upper = lower + 2 * self._slack(patches.shape[1], norms)
        bar = np.partition(lower, len(lower) - count)[len(lower) - count] if count < len(lower) else -np.inf
        found = np.flatnonzero(upper >= bar)
        patch_of, row_of = self.pairs_within(upper[found], patches[found], norms[found])
        sq = sq_integer_pairs(patches[found[patch_of]], self._rows[row_of])
        order = np.lexsort((row_of, sq, patch_of))
        first = np.unique(patch_of[order], return_index=True)[1]
        exact, rows = sq[order][first], row_of[order][first]
        taken = np.sort(np.lexsort((found, -exact))[:count])
        return found[taken], exact[taken], rows[taken]

    def pairs_within(self, sq: Doubles, patches: Rows, sq_patches: Doubles) -> tuple[Indices, Indices]:
        """Find all pairs of a patch and a row that may lie within `sq` of each other, and few others.

        Args:
            sq: float64 (P,), a squared distance for each patch.
            patches: int16 (P, D).
            sq_patches: float64 (P,), their squared lengths.

        Returns:
            Numbers of patches and of rows, int64 (n,) each, ordered by patch.
        """
        limit = (sq - sq_patches + self._slack(patches.shape[1], sq_patches)).astype(np.float32)
        flat = []
        step = max(PATCH_BLOCK, BLOCK_BOUNDS // len(self._rows))
        for start in range(0, len(patches), step):
            queries = patches[start : start + step].astype(np.float32)
            queries *= -2
            bounds = product(queries, self._floats.T)
            bounds += self._norms
            near = np.flatnonzero(bounds <= limit[start : start + step, None])
            flat.append(near + start * len(self._rows))
        patch_of, row_of = np.divmod(np.concatenate(flat) if flat else np.empty(0, np.int64), len(self._rows))
        return patch_of, row_of

    def _slack(self, dimensions: int, sq_patches: Doubles) -> Doubles:
        """An upper bound, float64 (P,), on the error of squared distances in float32.

        A sum of n products errs by at most n u times the sum of their sizes, here at most (|x| + |r|)^2. Twice that is
        allowed, for the roundings before and after.
        """
        slack: Doubles = 2 * (dimensions + 8) * UNIT * (np.sqrt(sq_patches) + self._largest) ** 2
        return slack


def separated(rows: Rows, sq_radius: int) -> Indices:
    """Choose rows, int16 (M, D), that all lie farther apart than the radius: each stays unless one that stays is near.

    Returns their numbers, int64, ascending.
    """
    kept = np.ones(len(rows), dtype=bool)
    for start in range(0, len(rows), ROW_BLOCK):
        block = rows[start : start + ROW_BLOCK]
        kept_before = np.flatnonzero(kept[:start])
        kept[start : start + len(block)] = sq_to_nearest(block, rows[kept_before])[0] > sq_radius
        X = block.astype(np.float64)
        norms = sq_norms(block)
        near = norms[:, None] + norms - 2 * product(X, X.T) <= sq_radius
        for i in range(len(block)):
            if kept[start + i]:
                kept[start + i + 1 : start + len(block)] &= ~near[i, i + 1 :]
    return np.flatnonzero(kept)


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
