"""Compiled passes over products find what plain comparisons find, of whole numbers in either type."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from patchline.engine.search.code_passes import (
    CHUNK,
    NearRows,
    at_least,
    chunks_most,
    largest_products,
    least_of_pairs,
    near_rows,
)
from patchline.engine.search.int8_codes import CodeSpace
from tests.engine.search.indexes import features

TYPES = [np.int32, np.float32]
COUNTS = [1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3]


def products_of(n: int, rows: int, dtype: type) -> NDArray[Any]:
    """Few different numbers, so that many are equal, and a few columns more that are no rows, with the largest."""
    drawn = np.random.default_rng(rows).integers(-9, 10, (n, rows + 7))
    drawn[:, rows:] = 1000
    return drawn.astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", COUNTS)
def test_the_first_of_the_largest_is_found(count: int, dtype: type) -> None:
    """As `argmax` finds it, among the rows alone."""
    products = products_of(20, count, dtype)
    row = np.empty(20, np.int64)
    largest_products(products, count, row)
    np.testing.assert_array_equal(row, products[:, :count].argmax(1))
    most = np.empty(-(-count // CHUNK), dtype)
    assert chunks_most(products[0], count, most) == row[0]
    assert most.tolist() == [products[0, i : min(i + CHUNK, count)].max() for i in range(0, count, CHUNK)]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", COUNTS)
def test_all_products_that_are_large_enough_are_found(count: int, dtype: type) -> None:
    """In order of queries and rows; of one query none is, of another all are, which is more than there was room for."""
    products = products_of(6, count, dtype)
    least = np.array([5, 9, 10, -9, -100, 0], np.int32)
    found = at_least(products, count, least)
    expected = np.nonzero(products[:, :count] >= least[:, None])
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def near_of(count: int, most_left: int) -> tuple[NearRows, NDArray[np.bool_], NDArray[Any]]:
    """What is found for 40 queries among so many rows; which pairs should be, by numpy; and the products."""
    rows, queries = features(count, 24, 3), features(40, 24, 4)
    queries[7] = queries[8] + 300
    centre = rows.mean(0, dtype=np.float64)
    space = CodeSpace(rows, np.eye(24), centre, 16)
    (codes, error), coded = space.rows(rows), space.queries(queries)
    products = coded.codes.astype(np.int32) @ codes.T.astype(np.int32)
    nearest = products.argmax(1)
    reach = np.sqrt(((queries - rows[nearest]).astype(np.float64) ** 2).sum(1)) * (1 + 1e-6)
    near = near_rows(products, count, most_left, queries, coded, rows, space, error)
    return near, products >= space.least(coded, reach, error)[:, None], products


@pytest.mark.parametrize("count", [30, 700])
def test_rows_that_may_be_nearest_are_found(count: int) -> None:
    """Those that the bounds leave, and no others; also where they leave more than there was room for."""
    near, expected, _ = near_of(count, most_left=count)
    np.testing.assert_array_equal(np.diff(near.starts), expected.sum(1))
    np.testing.assert_array_equal(near.rows, np.nonzero(expected)[1])
    assert not near.far.any()
    assert count < 100 or len(near.rows) > 64 * len(expected)


def test_queries_with_too_many_rows_are_far() -> None:
    """These have the row of the largest product alone; the others are as before."""
    most_left = int(np.median(near_of(700, most_left=700)[1].sum(1)))
    near, expected, products = near_of(700, most_left)
    far = expected.sum(1) > most_left
    assert 0 < far.sum() < len(far)
    np.testing.assert_array_equal(near.far, far)
    expected[far] = False
    expected[far, products[far].argmax(1)] = True
    np.testing.assert_array_equal(near.rows, np.nonzero(expected)[1])


def test_the_least_of_each_query_is_found() -> None:
    """The lowest row of those at the same distance."""
    near = NearRows(np.array([4, 2, 7, 9, 1]), np.array([0, 1, 4, 5]), np.zeros(3, np.bool_))
    best, row = np.empty(3, np.float32), np.empty(3, np.int64)
    least_of_pairs(np.array([3, 2, 1, 1, 5], np.float32), near, best, row)
    assert (best.tolist(), row.tolist()) == ([3, 1, 5], [4, 7, 1])
