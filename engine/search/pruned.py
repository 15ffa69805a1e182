"""Exact nearest neighbours without comparing everything: products of 8-bit codes rule most rows out.

`search.int8_codes` bounds every distance from below by a product of small integers. The row with the largest product
is measured exactly, and only the few rows that may be nearer by their bound are measured too. With the bank's principal
axes and codes of 96 values, some 10 of 15,000 rows are left.

Floor for n queries: 2 n M W operations on 8-bit integers, and one pass over the 4 n M bytes of products, kept in cache
by blocks of queries; flat search needs 2 n M D flop, each of them four times as dear.
"""

from collections.abc import Iterator
from copy import copy

import numpy as np
import torch

from patchline.engine.numerics.matmul import product
from patchline.engine.numerics.projection import sampled_axes
from patchline.engine.numerics.rounding import DOUBLE_UNIT, UNIT
from patchline.engine.search.code_passes import Largest, Nearest, Products, at_least
from patchline.engine.search.code_width import best_width
from patchline.engine.search.index import FOLD, check_queries, least_of_pairs, sq_pairs, take_farthest, take_nearest
from patchline.engine.search.int8_codes import Coded, CodeSpace, code_dtype, code_products
from patchline.engine.types import Codes, Doubles, Floats, Indices

ROWS_TOGETHER = 512
"""Rows multiplied at a time: wider blocks leave the core's cache, and with AMX take up to three times as long a row."""
QUERIES_TOGETHER = 1024
"""Queries that are multiplied at a time: their products with a block of rows take 2 MiB."""
PRODUCTS_TOGETHER = ROWS_TOGETHER * QUERIES_TOGETHER
CODED_ROWS = 8192
"""Rows coded at a time: what is made of them on the way is float64."""
MOST_LEFT = 0.5
"""Where codes leave more than this share of all rows, a query is compared with all rows by plain products."""
FLAT_ROWS = 1024
"""Rows in such a product at a time, as float64."""
MOST_WORSE = 2.0
"""Rows that join outside the box loosen all bounds. All are coded anew once the error is so many times larger."""
FIRST_BLOCK = 64
"""Queries, the farthest as far as is known, that are searched first and set a limit for the others."""
FEW_QUERIES = 8
"""So many queries, or fewer, are compared with all rows where their pairs have `FEW_VALUES` or fewer values: that takes
three operations, where codes take forty.
"""
FEW_VALUES = 2**21
FIRST_SHARE = 8
"""One in so many rows, the first ones, is compared first to see which queries cannot be the farthest."""


class PrunedSearch:
    """The exact search of `search.index`, by lower bounds from 8-bit codes; the same rows and distances.

    The axes are those of the first `rows`; rows added later are projected on the same axes. Their bounds hold too, as
    any orthonormal axes give a bound. Where later rows lie outside the box of the codes, all are coded anew.
    """

    copy_can_grow = True  # an index passes over rows beyond its own count

    def __init__(self, rows: Floats, width: int | None = None) -> None:
        self._rows = np.empty((0, rows.shape[1]), dtype=np.float32)  # with room to grow
        self._codes = torch.empty((0, 0), dtype=code_dtype())
        self._count = 0
        self._error = self._first_error = 0.0
        """The largest error of the rows' codes: now, and when the code space was made."""
        self._centre = rows.mean(0, dtype=np.float64)
        self._axes = sampled_axes(rows, self._centre)
        self._width = width or best_width(rows, self._axes, self._centre)
        self._space = CodeSpace(rows, self._axes, self._centre, self._width)
        self.add(rows)

    def __len__(self) -> int:
        return self._count

    @property
    def way(self) -> str:
        """How codes are multiplied on this machine, in words."""
        return f"codes of {self._width} values multiplied as {str(self._codes.dtype).removeprefix('torch.')}"

    def add(self, rows: Floats) -> None:
        """Append `rows`, float32 (m, D), in place; room for more is made by half of what there is."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        start, self._count = self._count, self._count + len(rows)
        if self._count > len(self._rows):
            self._reserve(self._count if start == 0 else self._count + self._count // 2)
        self._rows[start : self._count] = rows
        self._code(start)
        if start and self._error > MOST_WORSE * self._first_error:
            self._codes = self._codes.clone()  # the index that this one is a copy of keeps its own
            self._space = CodeSpace(self._rows[: self._count], self._axes, self._centre, self._width)
            self._error = 0.0
            self._code(0)
            start = 0
        if start == 0:
            self._first_error = self._error

    def with_rows(self, rows: Floats) -> "PrunedSearch":
        """See `NearestNeighbours.with_rows`: it keeps the axes, which cost the most to find."""
        other = copy(self)
        other._rows = np.empty((0, self._rows.shape[1]), dtype=np.float32)
        other._codes = torch.empty((0, 0), dtype=code_dtype())
        other._count, other._error = 0, 0.0
        other.add(rows)
        return other

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """See `NearestNeighbours.search`."""
        queries = check_queries(queries, k, self._rows.shape[1], len(self))
        if not len(queries):
            return np.empty((0, k), dtype=np.float32), np.empty((0, k), dtype=np.int64)
        if len(queries) <= FEW_QUERIES and queries.size * len(self) <= FEW_VALUES:
            sq, nearest = self._nearest_of_all(queries, k)
            return np.sqrt(sq), nearest
        find = self._nearest_one if k == 1 else self._nearest_some
        sq, nearest = find(queries, self._space.queries(queries), k)
        return np.sqrt(sq), nearest

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """See `NearestNeighbours.farthest`.

        A query's distance to any row bounds that to its nearest from above. So a query that is nearer to some row than
        k others are to all rows needs no further search (Taha and Hanbury 2015 find Hausdorff distances so). The first
        rows are a coreset of their own: among the first eighth of the bank most queries have a row that is near. For
        the others, the row with the largest product among all is measured, which is the nearest or nearly so.
        """
        queries = check_queries(queries, 1, self._rows.shape[1], len(self))
        block = max(k, FIRST_BLOCK)
        far, nearest = np.full(len(queries), -1.0, dtype=np.float32), np.zeros(len(queries), dtype=np.int64)
        coded = self._space.queries(queries)
        upper = self._near_row(queries, coded, max(1, len(self) // FIRST_SHARE))

        def still_open(numbers: Indices) -> Indices:
            """Those of the queries that may still be among the k farthest, by falling upper bound."""
            limit = np.partition(far, -k)[-k] if k <= len(far) else -1.0
            open_ = numbers[upper[numbers] >= limit]
            return open_[np.argsort(-upper[open_])]

        order = still_open(np.arange(len(queries)))
        # The first block sets a limit for the others; within a block, those that seem the k farthest for the rest.
        for candidates in (order[:block], order[block:]):
            candidates = still_open(candidates)
            upper[candidates] = self._near_row(queries[candidates], coded[candidates], len(self))
            candidates = still_open(candidates)
            for part in (candidates[:k], candidates[k:]):
                part = still_open(part)
                if len(part):
                    sq, row = self._nearest_one(queries[part], coded[part], 1)
                    far[part], nearest[part] = np.sqrt(sq[:, 0]), row[:, 0]
        return take_farthest(far, nearest, k)

    def _near_row(self, queries: Floats, coded: Coded, rows: int) -> Floats:
        """Distances, float32 (n,), to the row with the largest product among the first `rows`: upper bounds."""
        near = np.empty(len(queries), dtype=np.int64)
        for part in _parts(len(queries)):
            largest = Largest(part.stop - part.start)
            for products, first in self._products(coded.codes[part], rows):
                largest.add(products, first)
            near[part] = largest.rows
        return np.sqrt(sq_pairs(queries, np.arange(len(near)), self._rows, near))

    def _nearest_one(self, queries: Floats, coded: Coded, _k: int) -> tuple[Floats, Indices]:
        best, row = np.empty(len(queries), dtype=np.float32), np.empty(len(queries), dtype=np.int64)
        far = np.empty(len(queries), dtype=np.bool_)
        for part in _parts(len(queries)):
            asked = queries[part]
            nearest = Nearest(
                asked, coded[part], self._rows, self._space, self._error, most_left=int(MOST_LEFT * len(self))
            )
            for products, first in self._products(coded.codes[part], len(self)):
                nearest.add(products, first)
            near = nearest.near()
            query_of = np.repeat(np.arange(len(asked)), np.diff(near.starts))
            measured = sq_pairs(asked, query_of, self._rows, near.rows)
            least_of_pairs(measured, near.rows, near.starts, best[part], row[part])
            far[part] = near.far
        if far.any():
            best[far], row[far] = self._nearest_flat(queries[far])
        return best[:, None], row[:, None]

    def _products(self, codes: Codes, rows: int) -> Iterator[tuple[Products, int]]:
        """Products of queries' codes, (n, W), with those of the first `rows`: blocks (n, m), and the first of each."""
        step = ROWS_TOGETHER if len(codes) >= FIRST_BLOCK else PRODUCTS_TOGETHER // FIRST_BLOCK
        for first in range(0, rows, step):
            yield code_products(codes, self._codes[first : min(first + step, rows)]), first

    def _nearest_flat(self, queries: Floats) -> tuple[Floats, Indices]:
        """Nearest rows of queries so far from all rows that no code tells these apart, by products in float64."""
        centred = queries - self._centre
        sq_norms = np.einsum("nd,nd->n", centred, centred)
        best = np.full(len(queries), np.inf, dtype=np.float32)
        row = np.zeros(len(queries), dtype=np.int64)
        for start in range(0, len(self), FLAT_ROWS):
            X = self._rows[start : min(start + FLAT_ROWS, len(self))] - self._centre
            sq_rows = np.einsum("md,md->m", X, X)
            sq = sq_rows - 2 * product(centred, X.T) + sq_norms[:, None]
            # Of a stored row the difference of large numbers may be negative: its error is relative to those.
            error = 4 * (X.shape[1] + 4) * DOUBLE_UNIT * np.square(np.sqrt(sq_norms) + np.sqrt(sq_rows.max()))
            limit = np.minimum(best, sq.min(1) + error) * (1 + 4 * (X.shape[1] + 4) * UNIT) + error
            query_of, row_of = np.divmod(np.flatnonzero(sq <= limit[:, None]), len(X))
            measured = sq_pairs(queries, query_of, self._rows, row_of + start)
            order = np.lexsort((row_of, measured, query_of))
            query, first = np.unique(query_of[order], return_index=True)
            pair = order[first]  # each query's nearest of these rows, the lowest of equals
            nearer = measured[pair] < best[query]
            best[query[nearer]], row[query[nearer]] = measured[pair][nearer], row_of[pair][nearer] + start
        return best, row

    def _nearest_some(self, queries: Floats, coded: Coded, k: int) -> tuple[Floats, Indices]:
        sq, nearest = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        step = max(1, PRODUCTS_TOGETHER // len(self))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            sq[part], nearest[part] = self._some_of_block(queries[part], coded[part], k)
        return sq, nearest

    def _nearest_of_all(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """Squared distances and rows of the k nearest of each of a few queries, (n, k) each: every pair is measured."""
        query_of, row_of = np.divmod(np.arange(len(queries) * len(self)), len(self))
        measured = sq_pairs(queries, query_of, self._rows, row_of).reshape(len(queries), -1)
        sq, nearest = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        for number, of_query in enumerate(measured):
            # All that are as near as the k-th, so that ties go to the lowest row.
            rows = np.flatnonzero(of_query <= np.partition(of_query, k - 1)[k - 1])
            order = rows[np.argsort(of_query[rows], kind="stable")[:k]]
            sq[number], nearest[number] = of_query[order], order
        return sq, nearest

    def _some_of_block(self, queries: Floats, coded: Coded, k: int) -> tuple[Floats, Indices]:
        products = code_products(coded.codes, self._codes[: len(self)])
        n = len(queries)
        query = np.repeat(np.arange(n), k)
        first = torch.from_numpy(products).topk(k, dim=1, sorted=False).indices.numpy().ravel()
        sq = sq_pairs(queries, query, self._rows, first).reshape(n, k)
        query_of, row_of = at_least(products, self._space.least(coded, self._reach(sq.max(1)), self._error))
        counts = np.bincount(query_of, minlength=n)
        rank = np.arange(len(query_of)) - np.repeat(np.cumsum(counts) - counts, counts)
        all_sq = np.full((n, counts.max()), np.inf, dtype=np.float32)
        all_rows = np.full((n, counts.max()), len(self._rows), dtype=np.int64)
        all_sq[query_of, rank] = sq_pairs(queries, query_of, self._rows, row_of)
        all_rows[query_of, rank] = row_of
        return take_nearest(all_sq, all_rows, k)

    def _reach(self, sq: Floats) -> Doubles:
        """The largest distance, float64, at which a row may measure `sq` or less, as float32 sums err a little."""
        return np.sqrt(sq.astype(np.float64) * (1 + 2 * (self._rows.shape[1] + 4) * UNIT))

    def _code(self, start: int) -> None:
        """Code the rows from `start` on."""
        for first in range(start, self._count, CODED_ROWS):  # float64 of a share at a time
            part = slice(first, min(first + CODED_ROWS, self._count))
            codes, error = self._space.rows(self._rows[part])
            self._codes[part] = torch.from_numpy(codes)
            self._error = max(self._error, error)

    def _reserve(self, rows: int) -> None:
        """Make room for `rows` in all."""
        rows = -(-rows // FOLD) * FOLD
        grown = np.zeros((rows, self._rows.shape[1]), dtype=np.float32)
        grown[: len(self._rows)] = self._rows
        codes = torch.zeros((rows, self._space.width), dtype=code_dtype())
        codes[: len(self._codes)] = self._codes if len(self._codes) else codes[:0]
        self._rows, self._codes = grown, codes


def _parts(queries: int) -> Iterator[slice]:
    """Slices of as many queries as are searched together."""
    for start in range(0, queries, QUERIES_TOGETHER):
        yield slice(start, min(start + QUERIES_TOGETHER, queries))
