"""The anomaly score of a frame: Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection", Eq. 6 and 7.

s* is the distance of the patch farthest from the bank, m_test*, to its nearest row m* (Eq. 6). It is re-weighted by how
common m* is (Eq. 7): s = (1 - exp(s*) / sum over m in N_b(m*) of exp(|m_test* - m|)) s*, N_b(m*) being the b rows
nearest to m*, m* among them. With a single neighbour the weight would always be 0, so it is left out.

A recipe may score a frame by the mean distance of its k farthest patches instead, not re-weighted: what is wrong with a
part seldom shows in one patch alone, and noise often does.

Three callers have the patches and rows in three forms, and share `reweighted`: `Scorer` here one frame as float32
embeddings; `inspection.batch_judge` a batch of frames as tensors on a device; `learning.reference_frames` many frames
as stored integers, whose distances are exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from patchline.engine.search.index import NearestNeighbours

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", NDArray[np.float64], "Tensor")


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one frame, its worst patch (row-major on the grid) and that patch's nearest row m*."""

    value: float
    worst_patch: int
    nearest_row: int


class Scorer:
    """Scores frames over one bank.

    Args:
        rows: float32 (M, D), the bank's rows.
        index: finds the nearest of them.
        neighbours: b of Eq. 7.
        score_patches: k; with 1 a frame scores by Eq. 6-7.
    """

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
        """Score one frame by all its patches.

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
        """Score one frame by its worst patch.

        Args:
            embedding: float32 (D,), of the worst patch.
            distances: float32 (n,), L2 of the k farthest patches, or of more, to their nearest rows.
            worst: the number of the worst patch.
            row: m*, its nearest row.
        """
        if self.score_patches > 1:
            return Score(mean_of_farthest(distances, self.score_patches), worst, row)
        if self._neighbours == 1:
            return Score(float(distances.max()), worst, row)
        around = self._around(row)
        difference = self._rows[around].astype(np.float64) - embedding
        to_neighbours = np.sqrt(np.einsum("bd,bd->b", difference, difference))
        s_star = to_neighbours[np.flatnonzero(around == row)[:1]]
        value = reweighted(s_star, to_neighbours[None], to_neighbours.max(keepdims=True), np.exp)
        return Score(float(value[0]), worst, row)

    def _around(self, row: int) -> NDArray[np.int64]:
        """N_b(m*), int64 (b,), m* among them also where more than b rows equal it."""
        if row not in self._neighbours_of:
            around = self._index.search(self._rows[row : row + 1], self._neighbours)[1][0].copy()
            if row not in around:
                around[-1] = row
            self._neighbours_of[row] = around
        return self._neighbours_of[row]


def reweighted(s_star: Values, to_neighbours: Values, largest: Values, exp: Callable[[Values], Values]) -> Values:
    """Eq. 7 for F frames: float64 (F,), NumPy arrays or tensors alike.

    Args:
        s_star: (F,), the distance of each frame's worst patch to its nearest row m* (Eq. 6).
        to_neighbours: (F, b), its distances to the rows of N_b(m*).
        largest: (F,), the largest of each of these. It is taken out of every exponent, so that nothing overflows.
        exp: the exponential function for such values.
    """
    weight: Values = 1.0 - exp(s_star - largest) / exp(to_neighbours - largest[:, None]).sum(1)
    return weight * s_star


def mean_of_farthest(distances: NDArray[np.floating], count: int) -> float:
    """The mean of the `count` largest of `distances`, (P,); of all where they are fewer."""
    return float(np.sort(distances.astype(np.float64))[-count:].mean())
