"""Scores of frames that are kept as stored integers: exact distances, so the same on any machine.

A frame may pass over the rows of one fold: a calibration frame is scored without the rows of its own
(`bank.calibration`). The nearest row, m* and its b neighbours are then all of the other folds, as if the bank had no
other rows. `fitting` scores by this when it sets the threshold, and `learning` ever after.

Scores are rounded to float32, which hides the last digits of `exp`.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from patchline.engine.inspection.scoring import mean_of_farthest, reweighted
from patchline.engine.numerics.matmul import product
from patchline.engine.types import Doubles, Indices, Rows


class MeasuredFrame(Protocol):
    """A frame whose nearest rows are known; ties go to the lowest row. With no `fold`, no row was passed over."""

    @property
    def patches(self) -> Rows:
        """Embeddings, int16 (P, D)."""

    @property
    def sq(self) -> Doubles:
        """Exact squared distances to the nearest rows, float64 (P,), in integers' units."""

    @property
    def nearest(self) -> Indices:
        """Those rows, int64 (P,)."""

    @property
    def fold(self) -> int | None:
        """The fold whose rows were passed over."""


def stored_scores(
    frames: Sequence[MeasuredFrame],
    rows: Rows,
    row_fold: NDArray[np.int32],
    scale: float,
    neighbours: int,
    score_patches: int = 1,
) -> Doubles:
    """Anomaly scores, float64 (F,), of frames whose nearest rows are known.

    Args:
        frames: each with all its patches, or with those that are farthest from the rows in order.
        rows: int16 (M, D).
        row_fold: int32 (M,), the fold of each row.
        scale: of the stored values.
        neighbours: b of Eq. 7.
        score_patches: 1: by Eq. 6-7; more: the mean distance of so many farthest patches.
    """
    if score_patches > 1:
        means = [mean_of_farthest(np.sqrt(frame.sq), score_patches) * scale for frame in frames]
        return np.array(means, dtype=np.float32).astype(np.float64)
    worst = [int(frame.sq.argmax()) for frame in frames]
    s_star = np.sqrt([frame.sq[patch] for frame, patch in zip(frames, worst, strict=True)]) * scale
    if min(neighbours, len(rows)) == 1 or not len(frames):
        return np.asarray(s_star.astype(np.float32), dtype=np.float64)
    m_star = np.array([frame.nearest[patch] for frame, patch in zip(frames, worst, strict=True)])
    patches = np.stack([frame.patches[patch] for frame, patch in zip(frames, worst, strict=True)]).astype(np.float64)
    folds = np.array([-1 if frame.fold is None else frame.fold for frame in frames])
    exact = rows.astype(np.float64)
    scores = np.empty(len(frames))
    for fold in np.unique(folds):
        own = folds == fold
        passed_over = row_fold == fold
        b = min(neighbours, int((~passed_over).sum()))
        if b == 1:
            scores[own] = s_star[own]
            continue
        unique, which = np.unique(m_star[own], return_inverse=True)
        around = neighbours_of(exact, unique, b, passed_over)[which]  # (F, b)
        difference = exact[around] - patches[own, None]
        distances = np.sqrt(np.einsum("fbd,fbd->fb", difference, difference)) * scale
        scores[own] = reweighted(s_star[own], distances, distances.max(1), np.exp)
    return np.asarray(scores.astype(np.float32), dtype=np.float64)


def neighbours_of(
    rows: Doubles | Rows, chosen: Indices, b: int, passed_over: NDArray[np.bool_] | None = None
) -> Indices:
    """The b rows nearest to each of `chosen` (Q,), itself first, ties to the lowest row: int64 (Q, b).

    Args:
        rows: (M, D), whole numbers.
        chosen: numbers of rows that are not passed over.
        b: at most the rows that are not passed over.
        passed_over: bool (M,), rows that are as if they were not there; None: no row is.
    """
    X = np.asarray(rows, dtype=np.float64)
    Q = X[chosen]
    sq = np.einsum("md,md->m", X, X) - 2 * product(Q, X.T) + np.einsum("qd,qd->q", Q, Q)[:, None]
    if passed_over is not None:
        sq[:, passed_over] = np.inf
    sq[np.arange(len(chosen)), chosen] = -1  # first even where others equal it
    limits = np.partition(sq, b - 1, axis=1)[:, b - 1]
    neighbours = np.empty((len(chosen), b), dtype=np.int64)
    for number, (distances, limit) in enumerate(zip(sq, limits, strict=True)):
        near = np.flatnonzero(distances <= limit)
        neighbours[number] = near[np.argsort(distances[near], kind="stable")[:b]]
    return neighbours
