"""Exact nearest neighbours without comparing everything: products of 8-bit codes rule most rows out.

`engine.integer_codes` bounds every distance from below by a product of small integers. The row with the largest product
is measured exactly, and only the few rows that may be nearer by their bound are measured too. With the bank's principal
axes and codes of 96 values, some 10 of 15,000 rows are left.

Floor for n queries: 2 n M W operations on 8-bit integers, and one pass over the 4 n M bytes of products, kept in cache
by blocks of queries; flat search needs 2 n M D flop, each of them four times as dear.
"""

from copy import copy

import numpy as np
import torch

from engine.integer_codes import DIGITS, LARGEST, CodeSpace, Doubles, code_products
from engine.products import product
from engine.projection import principal_axes
from engine.search import FOLD, UNIT, Floats, Indices, checked, nearest_of, sq_pairs

BLOCK_VALUES = 2**21
"""Products held at a time: 8 MiB, a share of the last-level cache."""
SAMPLE = 8192
"""Rows from which the axes are found."""
WIDTH_ROWS = 2**13
"""Rows by which the width is chosen: what it saves does not hang on the rest."""
FARTHER = 1.35
"""Queries lie farther from the bank than its rows from one another, off the sheet that these are on."""
WIDTHS = (32, 48, 64, 96)
"""Values of a code to choose from."""
MOST_LEFT = 0.5
"""Where codes leave more than this share of all rows, a query is compared with all of them by plain products."""
FLAT_ROWS = 1024
"""Rows compared so at a time, as float64."""
MOST_WORSE = 2.0
"""Rows that join outside the box make the bounds of all looser; so much looser, and all are coded anew."""
PASS_COST, PAIR_COST, VALUE_COST = 40, 2_000, 50
"""In multiply-adds of an 8-bit product: the passes over one result; measuring a pair, and each of its values."""


class PrunedSearch:
    """The exact search of `engine.search`, by lower bounds from 8-bit codes; the same rows and distances.

    The axes are those of the first `rows`; rows added later are projected on the same axes. Their bounds hold too, as
    any orthonormal axes give a bound. Where later rows lie outside the box of the codes, all are coded anew.
    """

    def __init__(self, rows: Floats, width: int | None = None) -> None:
        self._rows = np.empty((0, rows.shape[1]), dtype=np.float32)  # with room to grow
        self._codes = torch.empty((0, 0), dtype=torch.int8)
        self._count = 0
        self._error = self._first_error = 0.0
        """Of the rows' codes, the largest: now, and when the space was made."""
        self._centre = rows.mean(0, dtype=np.float64)
        self._axes = principal_axes(rows[:: max(1, len(rows) // SAMPLE)].astype(np.float64) - self._centre)
        self._width = width or best_width(rows[:: -(-len(rows) // WIDTH_ROWS)], self._axes, self._centre)
        self._space = CodeSpace(rows, self._axes, self._centre, self._width)
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
        self._code(start)
        if start and self._error > MOST_WORSE * self._first_error:
            self._space = CodeSpace(self._rows[: self._count], self._axes, self._centre, self._width)
            self._error = 0.0
            self._code(0)
            start = 0
        if start == 0:
            self._first_error = self._error

    def anew(self, rows: Floats) -> "PrunedSearch":
        """See `NearestNeighbours.anew`: the axes stay, which cost the most to find."""
        other = copy(self)
        other._rows = np.empty((0, self._rows.shape[1]), dtype=np.float32)
        other._codes = torch.empty((0, 0), dtype=torch.int8)
        other._count, other._error = 0, 0.0
        other.add(rows)
        return other

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """See `NearestNeighbours.search`."""
        queries = checked(queries, k, self._rows.shape[1], len(self))
        sq, nearest = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        step = max(1, BLOCK_VALUES // len(self._codes))
        find = self._nearest_one if k == 1 else self._nearest_some
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            sq[part], nearest[part] = find(queries[part], k)
        return np.sqrt(sq), nearest

    def _nearest_one(self, queries: Floats, _k: int) -> tuple[Floats, Indices]:
        coded = self._space.queries(queries)
        products = code_products(torch.from_numpy(coded.codes), self._codes)  # (n, M')
        n, fold = len(queries), products.shape[1] // FOLD
        folded = products.view(n, FOLD, fold)
        most = folded.amax(1).numpy()  # (n, fold)
        every, column = np.arange(n), most.argmax(1)
        values = folded.numpy()
        first = np.minimum(values[every, :, column].argmax(1) * fold + column, len(self) - 1)  # some are no rows yet
        sq = sq_pairs(queries, every, self._rows, first)
        least = self._space.least(coded, self._reach(sq), self._error)
        near = most >= least[:, None]
        far = np.flatnonzero(near.all(1))
        if len(far):
            left = (values[far].reshape(len(far), -1) >= least[far, None]).sum(1)
            far = far[left > MOST_LEFT * len(self)]
        near[far, :] = False  # to be compared with everything at once
        near[far, first[far] % fold] = True
        query_of, column = np.divmod(np.flatnonzero(near), fold)
        hit, layer = np.divmod(np.flatnonzero(values[query_of, :, column] >= least[query_of, None]), FOLD)
        query_of, row_of = query_of[hit], layer * fold + column[hit]
        real = row_of < len(self)
        query_of, row_of = query_of[real], row_of[real]
        measured = sq_pairs(queries, query_of, self._rows, row_of)
        starts = np.searchsorted(query_of, every)
        best = np.minimum.reduceat(measured, starts)
        row = np.minimum.reduceat(np.where(measured == best[query_of], row_of, len(self)), starts)
        if len(far):
            best[far], row[far] = self._nearest_flat(queries[far])
        return best[:, None], row[:, None]

    def _nearest_flat(self, queries: Floats) -> tuple[Floats, Indices]:
        """The same for queries so far from all rows that no code tells these apart: by products in float64."""
        centred = queries - self._centre
        sq_norms = np.einsum("nd,nd->n", centred, centred)
        best = np.full(len(queries), np.inf, dtype=np.float32)
        row = np.zeros(len(queries), dtype=np.int64)
        for start in range(0, len(self), FLAT_ROWS):
            X = self._rows[start : min(start + FLAT_ROWS, len(self))] - self._centre
            sq = np.einsum("md,md->m", X, X) - 2 * product(centred, X.T) + sq_norms[:, None]
            limit = np.minimum(best, sq.min(1)) * (1 + 4 * (X.shape[1] + 4) * UNIT)
            query_of, row_of = np.divmod(np.flatnonzero(sq <= limit[:, None]), len(X))
            measured = sq_pairs(queries, query_of, self._rows, row_of + start)
            order = np.lexsort((row_of, measured, query_of))
            found, at = np.unique(query_of[order], return_index=True)
            at = order[at]  # of each query the nearest of these, the lowest of equals
            nearer = measured[at] < best[found]
            best[found[nearer]], row[found[nearer]] = measured[at][nearer], row_of[at][nearer] + start
        return best, row

    def _nearest_some(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        coded = self._space.queries(queries)
        products = code_products(torch.from_numpy(coded.codes), self._codes)[:, : len(self)]
        n = len(queries)
        every = np.repeat(np.arange(n), k)
        first = products.topk(k, dim=1, sorted=False).indices.numpy().ravel()
        sq = sq_pairs(queries, every, self._rows, first).reshape(n, k)
        least = self._space.least(coded, self._reach(sq.max(1)), self._error)
        query_of, row_of = np.nonzero(products.numpy() >= least[:, None])
        counts = np.bincount(query_of, minlength=n)
        place = np.arange(len(query_of)) - np.repeat(np.cumsum(counts) - counts, counts)
        all_sq = np.full((n, counts.max()), np.inf, dtype=np.float32)
        all_rows = np.full((n, counts.max()), len(self._rows), dtype=np.int64)
        all_sq[query_of, place] = sq_pairs(queries, query_of, self._rows, row_of)
        all_rows[query_of, place] = row_of
        return nearest_of(all_sq, all_rows, k)

    def _reach(self, sq: Floats) -> Doubles:
        """The largest distance, float64, of a row that may measure at most `sq`: float32 sums err a little."""
        return np.sqrt(sq.astype(np.float64) * (1 + 2 * (self._rows.shape[1] + 4) * UNIT))

    def _code(self, start: int) -> None:
        """Code the rows from `start` on."""
        for first in range(start, self._count, SAMPLE):  # float64 of a share at a time
            part = slice(first, min(first + SAMPLE, self._count))
            codes, error = self._space.rows(self._rows[part])
            self._codes[part] = torch.from_numpy(codes)
            self._error = max(self._error, error)

    def _reserve(self, rows: int) -> None:
        """Room for `rows`; rows that are not there yet are as far as can be."""
        rows = -(-rows // FOLD) * FOLD
        grown = np.zeros((rows, self._rows.shape[1]), dtype=np.float32)
        grown[: len(self._rows)] = self._rows
        codes = torch.zeros((rows, self._space.width), dtype=torch.int8)
        codes[:, -DIGITS:] = -LARGEST
        codes[: len(self._codes)] = self._codes if len(self._codes) else codes[:0]
        self._rows, self._codes = grown, codes


def best_width(rows: Floats, axes: Doubles, centre: Doubles) -> int:
    """The width of codes that makes the least work for queries like `rows`, float32 (M, D), but somewhat farther.

    Work of a query, in multiply-adds: M times the width and the passes over the products, and for each row that is
    left what gathering and measuring it costs.
    """
    M, D = rows.shape
    chosen = np.linspace(0, M - 1, min(M, 128)).astype(np.int64)
    centred = rows - centre
    sq_norms = np.einsum("md,md->m", centred, centred)
    exact = sq_norms[chosen, None] + sq_norms - 2 * product(centred[chosen], centred.T)
    exact[np.arange(len(chosen)), chosen] = np.inf  # not itself
    reach = FARTHER * np.sqrt(np.maximum(exact.min(1), 0.0)) if M > 1 else np.zeros(1)
    best, least_work = WIDTHS[0], np.inf
    for width in WIDTHS:
        if width > D + 1 + DIGITS and width > WIDTHS[0]:
            break
        space = CodeSpace(rows, axes, centre, width)
        (codes, error), queries = space.rows(rows), space.queries(rows[chosen])
        products = code_products(torch.from_numpy(queries.codes), torch.from_numpy(codes)).numpy()
        least = space.least(queries, reach, error)
        left = float((products >= least[:, None]).sum(1).mean())
        work = M * (width + PASS_COST) + left * (PAIR_COST + VALUE_COST * D)
        if work < least_work:
            best, least_work = width, work
    return best
