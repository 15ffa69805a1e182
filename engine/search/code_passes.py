"""Compiled passes over products of codes (`search.int8_codes`): which rows may be the nearest of a query.

Products are whole numbers, int32 or float32, of n queries with some rows of a bank: the larger, the nearer. They are
made for a few hundred rows at a time, so that they are in the core's cache as they are passed over, and so that the
library that multiplies brings the rows' codes into its own order but once. Products are first folded to
`FOLDED_COLUMNS` columns, by the largest of each; all else touches the few columns whose largest is large enough.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline.engine.numerics.compiled import compiled
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.search.int8_codes import LOWEST, Coded, CodeSpace, least_product
from patchline.engine.types import Floats, Indices

FOLDED_COLUMNS = 64
"""Columns to which products are folded: product i is in column i modulo this. They fill whole vector registers."""
Products = NDArray[Any]
"""Whole numbers, int32 or float32."""
_PAIRS = 64
"""Pairs for each query that there is room for at first."""


@dataclass(frozen=True, slots=True, eq=False)
class NearRows:
    """Pairs of a query and a row that may be its nearest, ordered by query.

    `rows` is int64 (p,), `starts` int64 (n + 1,): those of query i are `rows[starts[i] : starts[i + 1]]`, one or more.
    `far` is bool (n,): of such a query codes leave too many rows. It has one pair, and must be compared with all rows.
    """

    rows: Indices
    starts: Indices
    far: NDArray[np.bool_]


class Largest:
    """The row of each query's largest product, the lowest of equals, as blocks of rows are passed over in order.

    Args:
        queries: how many there are.
    """

    def __init__(self, queries: int) -> None:
        self._products = np.full(queries, 2 * LOWEST, np.int32)
        self.rows = np.zeros(queries, np.int64)
        """So far, int64 (n,)."""

    def add(self, products: Products, first: int) -> None:
        """Pass over products, (n, m), with the rows from `first` on."""
        _add_to_largest(products, first, self._products, self.rows)


class Nearest:
    """The rows that may be the nearest of queries, as blocks of rows are passed over in order.

    The row with the largest product so far is measured, which bounds what products can matter. As it nears, rows that
    were kept turn out to be too far, and are left out at the end.

    Args:
        queries: float32 (n, D).
        coded: the same in `space`.
        rows: float32 (M, D), all rows of the bank.
        space: of the codes.
        error: the largest error of the rows' codes.
        most_left: rows kept, from which on a query counts as far.
    """

    def __init__(
        self, queries: Floats, coded: Coded, rows: Floats, space: CodeSpace, error: float, most_left: int
    ) -> None:
        n = len(queries)
        self._vectors = (queries, rows)
        self._of_queries = (coded.sq, coded.error, coded.beyond, coded.rounding)
        self._error, self._step = error, space.step
        self._most_left = most_left
        self._best = np.full(n, 2 * LOWEST, np.int32)
        self._best_row = np.zeros(n, np.int64)
        self._least = np.full(n, LOWEST, np.int32)
        self._kept = np.zeros(n, np.int64)
        self._pairs = np.empty((3, _PAIRS * n), np.int32)
        """Queries, rows and products."""
        self._total = 0

    def add(self, products: Products, first: int) -> None:
        """Pass over products, (n, m), with the rows from `first` on."""
        query, n = 0, len(products)
        while query < n:
            query, self._total = _add_to_nearest(
                products,
                first,
                query,
                *self._vectors,
                *self._of_queries,
                self._error,
                self._step,
                self._most_left,
                self._best,
                self._best_row,
                self._least,
                self._kept,
                self._pairs,
                self._total,
            )
            if query < n:
                more = np.empty((3, 2 * self._pairs.shape[1] + products.shape[1]), np.int32)
                more[:, : self._total] = self._pairs[:, : self._total]
                self._pairs = more

    def near(self) -> NearRows:
        """The pairs that are left once all rows have been passed over."""
        n = len(self._best)
        far = self._kept > self._most_left
        rows, starts = np.empty(self._total + n, np.int64), np.empty(n + 1, np.int64)
        _in_order(self._pairs, self._total, self._least, far, self._best_row, rows, starts)
        return NearRows(rows[: starts[-1]], starts, far)


@compiled
def _larger(a: Any, b: Any) -> Any:
    return a if a > b else b


@compiled
def _folded(products: Products, most: Products) -> Any:
    """Write the largest of each column of a query's products, (m,), to `most`; return the largest of all.

    Eight products of a column are compared in one expression: in a loop, each comparison would wait for memory.
    """
    c, count = FOLDED_COLUMNS, len(products)
    for column in range(c):
        most[column] = products[column] if column < count else products[0]
    eights = count // (8 * c) * (8 * c)
    for start in range(0, eights, 8 * c):
        for i in range(start, start + c):
            j = i + 4 * c
            a, b = _larger(products[i], products[i + c]), _larger(products[i + 2 * c], products[i + 3 * c])
            d, e = _larger(products[j], products[j + c]), _larger(products[j + 2 * c], products[j + 3 * c])
            most[i - start] = _larger(most[i - start], _larger(_larger(a, b), _larger(d, e)))
    for row in range(eights, count):
        most[row % c] = _larger(products[row], most[row % c])
    largest = most[0]
    for column in range(c):
        largest = _larger(most[column], largest)
    return largest


@compiled
def _first_of(products: Products, most: Products, value: Any) -> int:
    """The lowest place of a product that is `value`, the largest."""
    first = len(products)
    for column in range(FOLDED_COLUMNS):
        if most[column] == value:
            for row in range(column, first, FOLDED_COLUMNS):
                if products[row] == value:
                    first = row
                    break
    return first


@compiled
def _add_to_largest(products: Products, first: int, best: NDArray[np.int32], rows: Indices) -> None:
    most = np.empty(FOLDED_COLUMNS, products.dtype)
    for query in range(len(products)):
        largest = _folded(products[query], most)
        if largest > best[query]:
            best[query] = largest
            rows[query] = first + _first_of(products[query], most, largest)


@compiled
def sq_distance(a: Floats, b: Floats) -> np.float32:
    """The squared distance of two vectors, float32 (D,), which errs by less than D + 2 units of round-off."""
    total = np.float32(0)
    for i in range(len(a)):
        difference = a[i] - b[i]
        total += difference * difference
    return total


@compiled
def _add_to_nearest(
    products: Products,
    first: int,
    begin: int,
    queries: Floats,
    rows: Floats,
    sq: Floats,
    query_error: Floats,
    beyond: Floats,
    rounding: Floats,
    error: float,
    step: float,
    most_left: int,
    best: NDArray[np.int32],
    best_row: Indices,
    least: NDArray[np.int32],
    kept: Indices,
    pairs: NDArray[np.int32],
    total: int,
) -> tuple[int, int]:
    """Pass over the products of the queries from `begin` on, as long as there is room for more pairs.

    Returns the first query that had to wait, and how many pairs there are now.
    """
    count = products.shape[1]
    most = np.empty(FOLDED_COLUMNS, products.dtype)
    allowance = 1 + 2 * (queries.shape[1] + 4) * UNIT  # float32 sums err a little
    for query in range(begin, len(products)):
        if total + count > pairs.shape[1]:
            return query, total
        of_query = products[query]
        largest = _folded(of_query, most)
        if largest > best[query]:
            best[query] = largest
            best_row[query] = first + _first_of(of_query, most, largest)
            reach = sqrt(sq_distance(queries[query], rows[best_row[query]]) * allowance)
            bound = least_product(reach, error, sq[query], query_error[query], beyond[query], rounding[query], step)
            least[query] = max(least[query], bound)
        bar = products.dtype.type(least[query])
        if largest < bar or kept[query] > most_left:
            continue
        before = total
        for column in range(FOLDED_COLUMNS):
            if most[column] >= bar:
                for row in range(column, count, FOLDED_COLUMNS):
                    if of_query[row] >= bar:
                        pairs[0, total], pairs[1, total], pairs[2, total] = query, first + row, of_query[row]
                        total += 1
        kept[query] += total - before
    return len(products), total


@compiled
def _in_order(
    pairs: NDArray[np.int32],
    total: int,
    least: NDArray[np.int32],
    far: NDArray[np.bool_],
    best_row: Indices,
    rows: Indices,
    starts: Indices,
) -> None:
    """Write the rows of pairs whose product is large enough to `rows`, by query, and where each query's begin."""
    starts[:] = 0
    for pair in range(total):
        query = pairs[0, pair]
        if pairs[2, pair] >= least[query] and not far[query]:
            starts[query + 1] += 1
    for query in range(len(far)):
        if far[query]:
            starts[query + 1] = 1
        starts[query + 1] += starts[query]
        if far[query]:
            rows[starts[query]] = best_row[query]
    place = starts[:-1].copy()
    for pair in range(total):
        query = pairs[0, pair]
        if pairs[2, pair] >= least[query] and not far[query]:
            rows[place[query]] = pairs[1, pair]
            place[query] += 1


def at_least(products: Products, least: NDArray[np.int32]) -> tuple[Indices, Indices]:
    """Find all products, (n, m), that are not less than their query's least, int32 (n,).

    Returns:
        Queries and rows, int64 (p,) each, ordered by query.
    """
    queries, rows = np.empty((2, _PAIRS * len(products)), np.int64)
    while (total := _at_least(products, least, queries, rows)) > len(rows):
        queries, rows = np.empty((2, total), np.int64)
    return queries[:total], rows[:total]


@compiled
def _at_least(products: Products, least: NDArray[np.int32], queries: Indices, rows: Indices) -> int:
    """Fill `queries` and `rows`; return how many pairs there are, which may be more than these hold."""
    total, count = 0, products.shape[1]
    most = np.empty(FOLDED_COLUMNS, products.dtype)
    for query in range(len(products)):
        of_query, bar = products[query], products.dtype.type(least[query])
        if _folded(of_query, most) < bar:
            continue
        for column in range(FOLDED_COLUMNS):
            if most[column] >= bar:
                for row in range(column, count, FOLDED_COLUMNS):
                    if of_query[row] >= bar:
                        if total < len(rows):
                            queries[total], rows[total] = query, row
                        total += 1
    return total
