"""Exact nearest neighbours without comparing everything: products of 8-bit codes rule most rows out.

`search.int8_codes` bounds every distance from below by a product of small integers. The row with the largest product
is measured exactly, and only the few rows that may be nearer by their bound are measured too. With the bank's principal
axes and codes of 96 values, some 10 of 15,000 rows are left.

Floor for n queries: 2 n M W operations on 8-bit integers, and one pass over the 4 n M bytes of products, kept in cache
by blocks of queries; flat search needs 2 n M D flop, each of them four times as dear.
"""

from copy import copy

import numpy as np
import torch

from patchline.engine.numerics.matmul import product
from patchline.engine.numerics.projection import sampled_axes
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.search.index import FOLD, checked, farthest_of, nearest_of, sq_pairs
from patchline.engine.search.int8_codes import DIGITS, LARGEST, Coded, CodeSpace, code_products, unfolded
from patchline.engine.types import Doubles, Floats, Indices

BLOCK_VALUES = 2**20
"""Products held at a time: 4 MiB, a share of the last-level cache."""
CODED_VALUES = 2**19
"""Values of queries that are coded together: many small operations would take longer than what they compute."""
CODED_ROWS = 8192
"""Rows coded at a time: what is made of them on the way is float64."""
WIDTH_ROWS = 2**13
"""Rows by which the width is chosen: what it saves does not hang on the rest."""
FARTHER = 2.5
"""Times the way from one row to its nearest: so far off the rows are queries, as those of real frames are judged by."""
WIDTHS = (32, 48, 64, 96, 128)
"""Values of a code to choose from."""
MOST_LEFT = 0.5
"""Where codes leave more than this share of all rows, a query is compared with all of them by plain products."""
FLAT_ROWS = 1024
"""Rows compared so at a time, as float64."""
MOST_WORSE = 2.0
"""Rows that join outside the box make the bounds of all looser; so much looser, and all are coded anew."""
FIRST_SHARE = 8
"""One in so many rows, the first ones, is looked at to see which queries can not be the farthest."""
PAIR_COST, VALUE_COST = 15_000, 50
"""Of a pair that is left and each of its values, in multiply-adds of an 8-bit product."""


class PrunedSearch:
    """The exact search of `search.index`, by lower bounds from 8-bit codes; the same rows and distances.

    The axes are those of the first `rows`; rows added later are projected on the same axes. Their bounds hold too, as
    any orthonormal axes give a bound. Where later rows lie outside the box of the codes, all are coded anew.
    """

    copy_can_grow = True  # rows beyond its own count are passed over

    def __init__(self, rows: Floats, width: int | None = None) -> None:
        self._rows = np.empty((0, rows.shape[1]), dtype=np.float32)  # with room to grow
        self._codes = torch.empty((0, 0), dtype=torch.int8)
        self._count = 0
        self._error = self._first_error = 0.0
        """Of the rows' codes, the largest: now, and when the space was made."""
        self._centre = rows.mean(0, dtype=np.float64)
        self._axes = sampled_axes(rows, self._centre)
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
            self._codes = self._codes.clone()  # an index that this is a copy of keeps its own
            self._space = CodeSpace(self._rows[: self._count], self._axes, self._centre, self._width)
            self._error = 0.0
            self._code(0)
            start = 0
        if start == 0:
            self._first_error = self._error

    def with_rows(self, rows: Floats) -> "PrunedSearch":
        """See `NearestNeighbours.with_rows`: the axes stay, which cost the most to find."""
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
        block = max(1, BLOCK_VALUES // len(self._codes))
        step = block * max(1, CODED_VALUES // (block * queries.shape[1]))
        find = self._nearest_one if k == 1 else self._nearest_some
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            coded = self._space.queries(queries[part])
            sq[part], nearest[part] = find(queries[part], coded, k, block)
        return np.sqrt(sq), nearest

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """See `NearestNeighbours.farthest`.

        A query's distance to any row bounds that to its nearest from above, so one that has been found nearer to some
        row than k others are to all of them is done with, as in the Hausdorff distances of Taha and Hanbury (2015).
        The first rows are a coreset of their own: among an eighth of the bank most queries have a row that is near. Of
        those that do not, the row with the largest product among all is measured, which is the nearest or nearly so.
        """
        queries = checked(queries, 1, self._rows.shape[1], len(self))
        block = max(1, BLOCK_VALUES // len(self._codes))
        far, nearest = np.full(len(queries), -1.0, dtype=np.float32), np.zeros(len(queries), dtype=np.int64)
        coded = self._coded(queries)
        upper = self._near_row(queries, coded, max(1, len(self) // FIRST_SHARE))

        def left_of(some: Indices) -> Indices:
            """Those that may still be among the k farthest, the farthest as it seems first."""
            limit = np.partition(far, -k)[-k] if k <= len(far) else -1.0
            left = some[upper[some] >= limit]
            return left[np.argsort(-upper[left])]

        order = left_of(np.arange(len(queries)))
        # The first block tells what the others have to exceed, and in each block those that seem the k farthest.
        for now in (order[:block], order[block:]):
            left = left_of(now)
            upper[left] = self._near_row(queries[left], coded[left], len(self))
            left = left_of(left)
            for last in (left[:k], left[k:]):
                last = left_of(last)
                if len(last):
                    sq, row = self._nearest_one(queries[last], coded[last], 1, block)
                    far[last], nearest[last] = np.sqrt(sq[:, 0]), row[:, 0]
        return farthest_of(far, nearest, k)

    def _coded(self, queries: Floats) -> Coded:
        coded, step = Coded.empty(len(queries), self._space.width), max(1, CODED_VALUES // queries.shape[1])
        for start in range(0, len(queries), step):
            coded[start : start + step] = self._space.queries(queries[start : start + step])
        return coded

    def _near_row(self, queries: Floats, coded: Coded, rows: int) -> Floats:
        """Distances, float32 (n,), to the row with the largest product among the first `rows`: upper bounds."""
        sq = np.empty(len(queries), dtype=np.float32)
        block = max(1, BLOCK_VALUES // rows)
        for start in range(0, len(queries), block):
            part = slice(start, start + block)
            products = code_products(torch.from_numpy(coded.codes[part]), self._codes[:rows])
            near = products.numpy().argmax(1)  # torch's own takes longer than the product
            sq[part] = sq_pairs(queries[part], np.arange(len(near)), self._rows, near)
        return np.sqrt(sq)

    def _nearest_one(self, queries: Floats, coded: Coded, _k: int, block: int) -> tuple[Floats, Indices]:
        blocks = [slice(start, start + block) for start in range(0, len(queries), block)]
        found = [self._near(queries[part], coded[part]) for part in blocks]
        query_of = np.concatenate([near + part.start for (near, _, _), part in zip(found, blocks, strict=True)])
        row_of = np.concatenate([rows for _, rows, _ in found])
        far = np.concatenate([far + part.start for (_, _, far), part in zip(found, blocks, strict=True)])
        measured = sq_pairs(queries, query_of, self._rows, row_of)
        starts = np.searchsorted(query_of, np.arange(len(queries)))
        best = np.minimum.reduceat(measured, starts)
        row = np.minimum.reduceat(np.where(measured == best[query_of], row_of, len(self)), starts)
        if len(far):
            best[far], row[far] = self._nearest_flat(queries[far])
        return best[:, None], row[:, None]

    def _near(self, queries: Floats, coded: Coded) -> tuple[Indices, Indices, Indices]:
        """All pairs of a query and a row that may be its nearest, int64 (p,) each, by query; one or more for each.

        And the queries, int64 (f,), of which there are too many: they have one pair, and have to be compared with all.
        """
        products = code_products(torch.from_numpy(coded.codes), self._codes)  # (n, M')
        n, fold = len(queries), products.shape[1] // FOLD
        folded = products.view(n, FOLD, fold)
        most, values = folded.amax(1).numpy(), folded.numpy()
        every, column = np.arange(n), most.argmax(1)
        first = np.minimum(values[every, :, column].argmax(1) * fold + column, len(self) - 1)  # some are no rows yet
        least = self._space.least(coded, self._reach(sq_pairs(queries, every, self._rows, first)), self._error)
        near = most >= least[:, None]
        columns, far = np.flatnonzero(near), np.empty(0, np.int64)
        if len(columns) >= fold and len(far := np.flatnonzero(near.all(1))):
            left = (values[far].reshape(len(far), -1) >= least[far, None]).sum(1)
            far = far[left > MOST_LEFT * len(self)]
            near[far, :] = False
            near[far, first[far] % fold] = True
            columns = np.flatnonzero(near)
        query_of, row_of = unfolded(values, columns, least)
        if products.shape[1] > len(self):
            real = row_of < len(self)
            query_of, row_of = query_of[real], row_of[real]
        return query_of, row_of, far

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

    def _nearest_some(self, queries: Floats, coded: Coded, k: int, block: int) -> tuple[Floats, Indices]:
        sq, nearest = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        for start in range(0, len(queries), block):
            part = slice(start, start + block)
            sq[part], nearest[part] = self._some_of_block(queries[part], coded[part], k)
        return sq, nearest

    def _some_of_block(self, queries: Floats, coded: Coded, k: int) -> tuple[Floats, Indices]:
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
        for first in range(start, self._count, CODED_ROWS):  # float64 of a share at a time
            part = slice(first, min(first + CODED_ROWS, self._count))
            codes, error = self._space.rows(self._rows[part])
            self._codes[part] = torch.from_numpy(codes)
            self._error = max(self._error, error)

    def _reserve(self, rows: int) -> None:
        """InFlightBudget for `rows`; rows that are not there yet are as far as can be."""
        rows = -(-rows // FOLD) * FOLD
        grown = np.zeros((rows, self._rows.shape[1]), dtype=np.float32)
        grown[: len(self._rows)] = self._rows
        codes = torch.zeros((rows, self._space.width), dtype=torch.int8)
        codes[:, -DIGITS:] = -LARGEST
        codes[: len(self._codes)] = self._codes if len(self._codes) else codes[:0]
        self._rows, self._codes = grown, codes


def best_width(rows: Floats, axes: Doubles, centre: Doubles) -> int:
    """The width of codes that makes the least work for queries that lie off the rows, float32 (M, D).

    Work of a query, in multiply-adds of an 8-bit product: M times the width, and what each row that is left costs.
    Queries are rows moved by the way between two others that are neighbours, or `FARTHER`.
    """
    M, D = rows.shape
    chosen = np.linspace(0, M - 1, min(M, 128)).astype(np.int64)
    centred = rows - centre
    sq = _sq_to_all(centred[chosen], centred)
    sq[np.arange(len(chosen)), chosen] = np.inf  # not itself
    apart = centred[chosen] - centred[sq.argmin(1)]
    queries = centred[chosen] + FARTHER * np.roll(apart, 1, 0)
    reach = np.sqrt(np.maximum(_sq_to_all(queries, centred).min(1), 0.0))
    best, least_work = WIDTHS[0], np.inf
    for width in WIDTHS:
        if width > D + 1 + DIGITS and width > WIDTHS[0]:
            break
        space = CodeSpace(rows, axes, centre, width)
        (codes, error), coded = space.rows(rows), space.queries((queries + centre).astype(np.float32))
        products = code_products(torch.from_numpy(coded.codes), torch.from_numpy(codes)).numpy()
        left = float((products >= space.least(coded, reach, error)[:, None]).sum(1).mean())
        work = M * width + left * (PAIR_COST + VALUE_COST * D)
        if work < least_work:
            best, least_work = width, work
    return best


def _sq_to_all(queries: Doubles, rows: Doubles) -> Doubles:
    """Squared distances, float64 (n, M), about."""
    sq: Doubles = -2 * product(queries, rows.T)
    sq += np.einsum("nd,nd->n", queries, queries)[:, None]
    sq += np.einsum("md,md->m", rows, rows)
    return sq
