"""Exact nearest neighbours without comparing everything: an orthogonal projection rules most rows out.

For orthonormal P (D, K) and residual norms e(x) = sqrt(|x|^2 - |Px|^2), Pythagoras and the triangle inequality give

    |q - r|^2  >=  |Pq - Pr|^2 + (e(q) - e(r))^2,

a squared distance in K + 1 dimensions, which one matrix product gives for all pairs. With the bank's principal axes and
K of 16 to 128 it is tight: the row with the least bound is measured exactly, and only the few rows whose bound is below
that are measured too.

Floor for n queries: 2 n M (K + 2) flop, and one pass over the 4 n M bytes of bounds, kept in cache by blocks of
queries; flat search needs 2 n M D flop and the same pass.
"""

from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray

from engine.products import product
from engine.projection import principal_axes
from engine.search import FOLD, UNIT, Floats, Indices, checked, nearest_of, sq_pairs

Doubles = NDArray[np.float64]

BLOCK_VALUES = 2**21
"""Bounds held at a time: 8 MiB, a share of the last-level cache."""
SAMPLE = 8192
"""Rows from which the axes are found."""
WIDTH_ROWS = 2**15
"""Rows by which the width is chosen: what it saves does not hang on the rest."""
WIDTHS = (16, 32, 48, 64, 96, 128)
"""Dimensions of the projection to choose from; each is far below D, or the search would save nothing."""


class PrunedSearch:
    """The exact search of `engine.search`, by lower bounds in K + 1 dimensions; the same rows and distances.

    The axes are those of the first `rows`; rows added later are projected on the same axes. Their bounds hold too, as
    any orthonormal axes give a bound.
    """

    def __init__(self, rows: Floats, width: int | None = None) -> None:
        dimensions = rows.shape[1]
        self._rows = np.empty((0, dimensions), dtype=np.float32)  # with room to grow
        self._bounds = torch.empty((0, 0))
        self._count = 0
        self._norm = 0.0
        self._centre = rows.mean(0, dtype=np.float64)
        axes = principal_axes(rows[:: max(1, len(rows) // SAMPLE)].astype(np.float64) - self._centre)
        if width is None:
            width = best_width(rows[:: -(-len(rows) // WIDTH_ROWS)].astype(np.float64) - self._centre, axes)
        self._axes = np.ascontiguousarray(axes[:, :width])
        self.add(rows)

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Floats) -> None:
        """Append `rows`, float32 (m, D), in place; room for more is made by half of what there is."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        start, self._count = self._count, self._count + len(rows)
        if self._count > len(self._rows):
            self._reserve(self._count if start == 0 else self._count + self._count // 2)
        self._rows[start : self._count] = rows
        for first in range(0, len(rows), SAMPLE):  # float64 of a share at a time
            points = self._project(rows[first : first + SAMPLE])  # (m, K + 1)
            sq_norms = np.einsum("mk,mk->m", points, points)
            place = slice(start + first, start + first + len(points))
            self._bounds[place, :-1] = torch.from_numpy(points)
            self._bounds[place, -1] = torch.from_numpy(sq_norms)
            self._norm = max(self._norm, float(np.sqrt(sq_norms.max())))

    def anew(self, rows: Floats) -> "PrunedSearch":
        """See `NearestNeighbours.anew`: the axes stay, which cost the most to find."""
        other = copy(self)
        other._rows = np.empty((0, self._rows.shape[1]), dtype=np.float32)
        other._bounds = torch.empty((0, 0))
        other._count, other._norm = 0, 0.0
        other.add(rows)
        return other

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """See `NearestNeighbours.search`."""
        queries = checked(queries, k, self._rows.shape[1], len(self))
        points = self._project(queries)
        sq_norms = np.einsum("nk,nk->n", points, points)
        slack = 2 * (points.shape[1] + 8) * UNIT * (np.sqrt(sq_norms) + self._norm) ** 2
        factors = np.concatenate([-2 * points, np.ones((len(points), 1))], axis=1).astype(np.float32)
        sq, nearest = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        step = max(1, BLOCK_VALUES // len(self._bounds))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            bounds = torch.mm(torch.from_numpy(factors[part]), self._bounds.T)  # (n, M'), each less |q|^2
            find = self._nearest_one if k == 1 else self._nearest_some
            sq[part], nearest[part] = find(queries[part], bounds, slack[part] - sq_norms[part], k)
        return np.sqrt(sq), nearest

    def _nearest_one(self, queries: Floats, bounds: torch.Tensor, offset: Doubles, _k: int) -> tuple[Floats, Indices]:
        n, fold = len(queries), bounds.shape[1] // FOLD
        folded = bounds.view(n, FOLD, fold)
        least = folded.amin(1).numpy()  # (n, fold)
        every, column = np.arange(n), least.argmin(1)
        values = folded.numpy()
        first = values[every, :, column].argmin(1) * fold + column
        limit = self._limit(sq_pairs(queries, every, self._rows, first), offset)
        query_of, column = np.nonzero(least <= limit[:, None])
        hit, layer = np.nonzero(values[query_of, :, column] <= limit[query_of, None])
        query_of, row_of = query_of[hit], layer * fold + column[hit]
        sq = sq_pairs(queries, query_of, self._rows, row_of)
        starts = np.searchsorted(query_of, every)
        best = np.minimum.reduceat(sq, starts)
        row = np.minimum.reduceat(np.where(sq == best[query_of], row_of, len(self._rows)), starts)
        return best[:, None], row[:, None]

    def _nearest_some(self, queries: Floats, bounds: torch.Tensor, offset: Doubles, k: int) -> tuple[Floats, Indices]:
        n = len(queries)
        every = np.repeat(np.arange(n), k)
        first = bounds.topk(k, dim=1, largest=False, sorted=False).indices.numpy().ravel()
        sq = sq_pairs(queries, every, self._rows, first).reshape(n, k)
        limit = self._limit(sq.max(1), offset)
        query_of, row_of = np.nonzero(bounds.numpy() <= limit[:, None])
        counts = np.bincount(query_of, minlength=n)
        place = np.arange(len(query_of)) - np.repeat(np.cumsum(counts) - counts, counts)
        all_sq = np.full((n, counts.max()), np.inf, dtype=np.float32)
        all_rows = np.full((n, counts.max()), len(self._rows), dtype=np.int64)
        all_sq[query_of, place] = sq_pairs(queries, query_of, self._rows, row_of)
        all_rows[query_of, place] = row_of
        return nearest_of(all_sq, all_rows, k)

    def _limit(self, sq: Floats, offset: Doubles) -> Floats:
        """The largest bound (less |q|^2) of a row that may measure at most `sq`: both may err in the last places."""
        return np.nextafter((sq * (1 + 2 * (self._rows.shape[1] + 4) * UNIT) + offset).astype(np.float32), np.inf)

    def _project(self, vectors: Floats) -> Doubles:
        """Axes and residual norm, float64 (n, K + 1): what float32 would lose here, every bound would have to allow."""
        centred = vectors - self._centre
        inside = product(centred, self._axes)
        sq_outside = np.einsum("nd,nd->n", centred, centred) - np.einsum("nk,nk->n", inside, inside)
        return np.concatenate([inside, np.sqrt(np.maximum(sq_outside, 0.0))[:, None]], axis=1)

    def _reserve(self, rows: int) -> None:
        """Room for `rows`; rows that are not there yet are infinitely far."""
        rows = -(-rows // FOLD) * FOLD
        grown = np.zeros((rows, self._rows.shape[1]), dtype=np.float32)
        grown[: len(self._rows)] = self._rows
        bounds = torch.zeros((rows, self._axes.shape[1] + 2))
        bounds[:, -1] = torch.inf
        bounds[: len(self._bounds)] = self._bounds if len(self._bounds) else bounds[:0]
        self._rows, self._bounds = grown, bounds


def best_width(centred: Doubles, axes: Doubles) -> int:
    """The width that makes the least work for queries like the rows themselves.

    Work of a query, in multiply-adds of a matrix product: M times K + 2 of them, the passes over their results (as dear
    as about 60 each), and for each row left 30 D, since rows are gathered from all over the bank.
    """
    M, D = centred.shape
    queries = np.linspace(0, M - 1, min(M, 128)).astype(np.int64)
    sq_norms = np.einsum("md,md->m", centred, centred)
    exact = sq_norms[queries, None] + sq_norms - 2 * centred[queries] @ centred.T
    exact[np.arange(len(queries)), queries] = np.inf  # not itself
    nearest = exact.min(1)
    best: int = D
    least = np.inf
    for width in (*(w for w in WIDTHS if w < D), D):
        inside = centred @ axes[:, :width]
        sq_inside = np.einsum("mk,mk->m", inside, inside)
        outside = np.sqrt(np.maximum(sq_norms - sq_inside, 0.0))
        bound = sq_inside[queries, None] + sq_inside - 2 * inside[queries] @ inside.T
        bound += (outside[queries, None] - outside) ** 2
        left = float((bound <= nearest[:, None]).sum(1).mean())
        work = M * (width + 2 + 60) + 30 * left * D
        if work < least:
            best, least = width, work
    return best
