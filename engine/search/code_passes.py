"""Compiled passes over products of codes (`search.int8_codes`): which rows may be the nearest of a query.

Products are whole numbers, int32 or float32, of n queries with the rows of a bank: the larger, the nearer. They are
passed over once for the largest of each `CHUNK`, while they are in cache; all later steps touch the few chunks that
hold a product which is large enough.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline.engine.numerics.compiled import compiled
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.search.int8_codes import Coded, CodeSpace, least_product
from patchline.engine.types import Floats, Indices

CHUNK = 64
"""Products of which the largest is kept."""
Products = NDArray[Any]
"""Whole numbers, int32 or float32."""
_PAIRS = 64
"""Pairs for each query that there is room for at first."""


@dataclass(frozen=True, slots=True, eq=False)
class NearRows:
    """Pairs of a query and a row that may be its nearest, ordered by query, and then by row.

    `rows` is int64 (p,), `starts` int64 (n + 1,): those of query i are `rows[starts[i] : starts[i + 1]]`, one or more.
    `far` is bool (n,): of such a query codes leave too many rows. It has one pair, and must be compared with all rows.
    """

    rows: Indices
    starts: Indices
    far: NDArray[np.bool_]


@compiled
def chunks_most(products: Products, count: int, most: Products) -> int:
    """Write the largest of each `CHUNK` of a query's first `count` products to `most`; return the first largest's place.

    Args:
        products: (M,), of one query.
        count: how many of them are rows.
        most: (count / CHUNK, rounded up).
    """
    best = 0
    for chunk in range(len(most)):
        largest = products[chunk * CHUNK]
        for row in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
            largest = max(largest, products[row])
        most[chunk] = largest
        if largest > most[best]:
            best = chunk
    row = best * CHUNK
    while products[row] < most[best]:
        row += 1
    return row


@compiled
def sq_distance(a: Floats, b: Floats) -> float:
    """The squared distance of two vectors, float32 (D,), which errs by less than D + 2 units of round-off."""
    total = np.float32(0)
    for i in range(len(a)):
        difference = a[i] - b[i]
        total += difference * difference
    return total


@compiled
def largest_products(products: Products, count: int, row: Indices) -> None:
    """Write the row of each query's largest product among the first `count`, the lowest of equals, to `row`, (n,)."""
    most = np.empty((count + CHUNK - 1) // CHUNK, products.dtype)
    for query in range(len(products)):
        row[query] = chunks_most(products[query], count, most)


def near_rows(
    products: Products,
    count: int,
    most_left: int,
    queries: Floats,
    coded: Coded,
    rows: Floats,
    space: CodeSpace,
    error: float,
) -> NearRows:
    """Pair each query with the rows that may be its nearest: those that no bound puts beyond the row that seems so.

    Args:
        products: (n, M), of the queries' codes with those of the rows.
        count: how many of the M are rows.
        most_left: pairs from which a query counts as far.
        queries: float32 (n, D).
        coded: the same in `space`.
        rows: float32 (M, D).
        space: of the codes.
        error: the largest error of the rows' codes.
    """
    n = len(products)
    found = np.empty(_PAIRS * n, np.int64)
    starts, far = np.empty(n + 1, np.int64), np.empty(n, np.bool_)
    measures = (coded.sq, coded.error, coded.beyond, coded.rounding, error, space.step)
    while (total := _near_rows(products, count, most_left, queries, rows, *measures, found, starts, far)) > len(found):
        found = np.empty(total, np.int64)
    return NearRows(found[:total], starts, far)


@compiled
def _near_rows(
    products: Products,
    count: int,
    most_left: int,
    queries: Floats,
    rows: Floats,
    sq: Floats,
    query_error: Floats,
    beyond: Floats,
    rounding: Floats,
    error: float,
    step: float,
    found: Indices,
    starts: Indices,
    far: NDArray[np.bool_],
) -> int:
    """Fill `found`, `starts` and `far`; return how many pairs there are, which may be more than `found` holds."""
    most = np.empty((count + CHUNK - 1) // CHUNK, products.dtype)
    allowance = 1 + 2 * (queries.shape[1] + 4) * UNIT  # float32 sums err a little
    total = 0
    for query in range(len(products)):
        of_query = products[query]
        first = chunks_most(of_query, count, most)
        reach = sqrt(sq_distance(queries[query], rows[first]) * allowance)
        least = least_product(reach, error, sq[query], query_error[query], beyond[query], rounding[query], step)
        starts[query], begin = total, total
        for chunk in range(len(most)):
            if most[chunk] >= least:
                for row in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
                    if of_query[row] >= least:
                        if total < len(found):
                            found[total] = row
                        total += 1
        far[query] = total - begin > most_left
        if far[query]:
            total = begin
            if total < len(found):
                found[total] = first
            total += 1
    starts[len(products)] = total
    return total


def least_of_pairs(sq: Floats, near: NearRows, best: Floats, row: Indices) -> None:
    """Write the least of each query's measured pairs to `best` and its row to `row`, (n,) each: the lowest of equals.

    Args:
        sq: float32 (p,), squared distances of the pairs.
        near: the pairs.
        best: float32 (n,).
        row: int64 (n,).
    """
    _least_of_pairs(sq, near.rows, near.starts, best, row)


@compiled
def _least_of_pairs(sq: Floats, rows: Indices, starts: Indices, best: Floats, row: Indices) -> None:
    for query in range(len(best)):
        least = starts[query]
        for pair in range(least + 1, starts[query + 1]):
            if sq[pair] < sq[least]:
                least = pair
        best[query], row[query] = sq[least], rows[least]


def at_least(products: Products, count: int, least: NDArray[np.int32]) -> tuple[Indices, Indices]:
    """Find all products of rows that are not less than their query's least.

    Args:
        products: (n, M).
        count: how many of the M are rows.
        least: int32 (n,), for each query.

    Returns:
        Queries and rows, int64 (p,) each, ordered by query, and then by row.
    """
    queries, rows = np.empty((2, _PAIRS * len(products)), np.int64)
    while (total := _at_least(products, count, least, queries, rows)) > len(rows):
        queries, rows = np.empty((2, total), np.int64)
    return queries[:total], rows[:total]


@compiled
def _at_least(products: Products, count: int, least: NDArray[np.int32], queries: Indices, rows: Indices) -> int:
    """Fill `queries` and `rows`; return how many pairs there are, which may be more than these hold."""
    total = 0
    most = np.empty((count + CHUNK - 1) // CHUNK, products.dtype)
    for query in range(len(products)):
        of_query = products[query]
        chunks_most(of_query, count, most)
        for chunk in range(len(most)):
            if most[chunk] >= least[query]:
                for row in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
                    if of_query[row] >= least[query]:
                        if total < len(rows):
                            queries[total], rows[total] = query, row
                        total += 1
    return total
