"""The anomaly score of a frame: Roth et al. 2022, Eq. 6 and 7.

s* is the distance of the patch farthest from the bank, m_test*, to its nearest row m*. It is re-weighted by how common
m* is: s = (1 - exp(s*) / sum over m in N_b(m*) of exp(|m_test* - m|)) s*, N_b(m*) being the b rows nearest to m*,
m* among them. With a single neighbour the weight would always be 0, so it is left out.

A recipe may score a frame by the mean distance of its k farthest patches instead, not re-weighted: what is wrong with a
part seldom shows in one patch alone, and noise often does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchline.engine.search.index import NearestNeighbours


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one frame, its worst patch (row-major on the grid) and that patch's nearest row m*."""

    value: float
    worst_patch: int
    nearest_row: int


class Scorer:
    """The score over one bank: its rows, float32 (M, D), an index over them, b of Eq. 7, and k; with k = 1 Eq. 6-7."""

    def __init__(
        self, rows: NDArray[np.float32], index: NearestNeighbours, neighbours: int, score_patches: int = 1
    ) -> None:
        self._rows = rows
        self._index = index
        self._neighbours = min(neighbours, len(rows))
        self.score_patches = score_patches
        """k: so many of the farthest patches are looked at."""
        self._neighbours_of: dict[int, NDArray[np.int64]] = {}

    def score(
        self, embeddings: NDArray[np.float32], distances: NDArray[np.float32], nearest: NDArray[np.int64]
    ) -> Score:
        """Score one frame.

        Args:
            embeddings: float32 (P, D), the frame's patches.
            distances: float32 (P,), L2 from each patch to its nearest row; ties go to the first patch.
            nearest: int64 (P,), that row.
        """
        worst = int(distances.argmax())
        return self.score_worst(embeddings[worst], distances, worst, int(nearest[worst]))

    def score_worst(
        self, embedding: NDArray[np.float32], distances: NDArray[np.float32], worst: int, row: int
    ) -> Score:
        """Score a frame by its worst patch: its embedding, float32 (D,), the distances of the k farthest patches or
        more, float32 (n,), its number, and its nearest row.
        """
        if self.score_patches > 1:
            return Score(mean_of_farthest(distances, self.score_patches), worst, row)
        if self._neighbours == 1:
            return Score(float(distances.max()), worst, row)
        around = self._around(row)
        difference = self._rows[around].astype(np.float64) - embedding
        to_neighbours = np.sqrt(np.einsum("bd,bd->b", difference, difference))
        s_star = to_neighbours[np.flatnonzero(around == row)[0]]
        # exp(s*) / sum exp(d) with the largest exponent taken out, so that nothing overflows.
        largest = to_neighbours.max()
        weight = 1.0 - np.exp(s_star - largest) / np.exp(to_neighbours - largest).sum()
        return Score(float(weight * s_star), worst, row)

    def _around(self, row: int) -> NDArray[np.int64]:
        """N_b(m*), int64 (b,), m* among them also where more than b rows equal it."""
        if row not in self._neighbours_of:
            _, found = self._index.search(self._rows[row : row + 1], self._neighbours)
            around = found[0].copy()
            if row not in around:
                around[-1] = row
            self._neighbours_of[row] = around
        return self._neighbours_of[row]


def mean_of_farthest(distances: NDArray[np.floating], count: int) -> float:
    """The mean of the `count` largest of `distances`, (P,); of all where they are fewer."""
    return float(np.sort(distances.astype(np.float64))[-count:].mean())
