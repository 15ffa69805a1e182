"""Compiled passes over products find what plain comparisons find, of whole numbers in either type, block by block."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from patchline.engine.search.code_passes import FOLDED_COLUMNS, Largest, Nearest, NearRows, at_least
from patchline.engine.search.int8_codes import CodeSpace
from tests.engine.search.indexes import features

TYPES = [np.int32, np.float32]
COUNTS = [
    1,
    FOLDED_COLUMNS - 1,
    FOLDED_COLUMNS,
    FOLDED_COLUMNS + 1,
    5 * FOLDED_COLUMNS + 3,
    8 * FOLDED_COLUMNS,
    17 * FOLDED_COLUMNS + 1,
]


def products_of(n: int, rows: int, dtype: type) -> NDArray[Any]:
    """Few different numbers, so that many are equal."""
    return np.random.default_rng(rows).integers(-9, 10, (n, rows)).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("step", [70, 1000])
def test_the_first_of_the_largest_is_found(count: int, dtype: type, step: int) -> None:
    """As `argmax` finds it, whatever the blocks."""
    products = products_of(20, count, dtype)
    largest = Largest(20)
    for first in range(0, count, step):
        largest.add(np.ascontiguousarray(products[:, first : first + step]), first)
    np.testing.assert_array_equal(largest.rows, products.argmax(1))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", COUNTS)
def test_all_products_that_are_large_enough_are_found(count: int, dtype: type) -> None:
    """In order of queries; of one query none is, of another all are, which is more than there was room for."""
    products = products_of(6, count, dtype)
    least = np.array([5, 9, 10, -9, -100, 0], np.int32)
    found = at_least(products, least)
    expected = np.nonzero(products >= least[:, None])
    np.testing.assert_array_equal(found[0], expected[0])
    assert sorted(zip(*found, strict=True)) == list(zip(*expected, strict=True))


def near_of(count: int, most_left: int, step: int) -> tuple[NearRows, NDArray[np.bool_], NDArray[Any]]:
    """What is found for 40 queries among so many rows; which pairs should be, by numpy; and the products."""
    rows, queries = features(count, 24, 3), features(40, 24, 4)
    queries[7] = queries[8] + 300
    space = CodeSpace(rows, np.eye(24), rows.mean(0, dtype=np.float64), 16)
    (codes, error), coded = space.rows(rows), space.queries(queries)
    products = coded.codes.astype(np.int32) @ codes.T.astype(np.int32)
    nearest = Nearest(queries, coded, rows, space, error, most_left)
    measured = []
    for first in range(0, count, step):
        nearest.add(np.ascontiguousarray(products[:, first : first + step]), first)
        best = products[:, : first + step].argmax(1)
        measured.append(((queries - rows[best]).astype(np.float64) ** 2).sum(1))
    reach = np.sqrt(np.min(measured, axis=0) * (1 + 2 * 28 * 2.0**-24))
    return nearest.near(), products >= space.least(coded, reach, error)[:, None], products


def by_row(near: NearRows) -> NDArray[np.int64]:
    """The rows of each query in order."""
    return np.concatenate([np.sort(some) for some in np.split(near.rows, near.starts[1:-1])])


@pytest.mark.parametrize(("count", "step"), [(30, 1000), (700, 1000), (700, 100), (700, 33)])
def test_rows_that_may_be_nearest_are_found(count: int, step: int) -> None:
    """Those that the bounds leave, and no others; also where they leave more than there was room for."""
    near, expected, _ = near_of(count, most_left=count, step=step)
    np.testing.assert_array_equal(np.diff(near.starts), expected.sum(1))
    np.testing.assert_array_equal(by_row(near), np.nonzero(expected)[1])
    assert not near.far.any()
    assert count < 100 or len(near.rows) > 64 * len(expected)


def test_queries_with_too_many_rows_are_far() -> None:
    """These have the row of the largest product alone; the others are as before."""
    most_left = int(np.median(near_of(700, 700, 1000)[1].sum(1)))
    near, expected, products = near_of(700, most_left, 1000)
    far = expected.sum(1) > most_left
    assert 0 < far.sum() < len(far)
    np.testing.assert_array_equal(near.far, far)
    expected[far] = False
    expected[far, products[far].argmax(1)] = True
    np.testing.assert_array_equal(by_row(near), np.nonzero(expected)[1])
