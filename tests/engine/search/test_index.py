"""What every search promises: the exact nearest rows, the same for any batch, whatever proposes the candidates."""

from copy import copy

import numpy as np
import pytest
import torch

from patchline.engine.search.index import (
    check_queries,
    least_of_pairs,
    nearest_measured,
    sq_pairs,
    take_farthest,
    take_nearest,
)
from patchline.engine.search.pruned import PrunedSearch
from tests.engine.search.indexes import KINDS, features, plain

every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("k", [1, 9])
@pytest.mark.parametrize("dimensions", [8, 152, 1536])
def test_neighbours_are_those_of_float64(kind: str, k: int, dimensions: int) -> None:
    """Rows and distances equal the definition's: distances to 1e-5 relative, in ascending order."""
    rows, queries = features(700, dimensions, 1), features(40, dimensions, 2)
    distances, nearest = KINDS[kind](rows).search(queries, k)
    expected, order = plain(rows, queries, k)
    assert distances.dtype == np.float32
    assert nearest.dtype == np.int64
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    np.testing.assert_array_equal(nearest, order)


@every_kind
def test_a_stored_row_is_at_distance_zero_from_itself(kind: str) -> None:
    """What subtracting large numbers would put 0.4 from itself is found at exactly 0."""
    rows = features(600, 1536, 3)
    distances, nearest = KINDS[kind](rows).search(rows, 1)
    assert not distances.any()
    np.testing.assert_array_equal(nearest[:, 0], np.arange(600))


@every_kind
def test_ties_go_to_the_lowest_rows(kind: str) -> None:
    """Of many equal rows the lowest are returned, more of them than any list of candidates holds."""
    rows = np.concatenate([features(50, 24, 4), np.repeat(features(1, 24, 5), 400, axis=0), features(50, 24, 6)])
    distances, nearest = KINDS[kind](rows).search(rows[449:450], 9)
    assert not distances.any()
    np.testing.assert_array_equal(nearest, np.arange(50, 59)[None])


@every_kind
def test_a_bank_of_one_value_is_searched_too(kind: str) -> None:
    """Images of one colour give rows that are all the same; that is no special case."""
    rows = np.full((300, 20), 3.0, dtype=np.float32)
    distances, nearest = KINDS[kind](rows).search(np.full((5, 20), 4.0, dtype=np.float32), 2)
    np.testing.assert_allclose(distances, np.sqrt(20), rtol=1e-6)
    np.testing.assert_array_equal(nearest, np.tile([0, 1], (5, 1)))


@every_kind
def test_rows_added_later_are_found_as_if_they_had_been_there(kind: str) -> None:
    """Growing in place, by one row or many, also rows unlike the first, gives the index over all of them."""
    rows = np.concatenate([features(300, 48, 7), 3 * features(200, 48, 8)])
    grown = KINDS[kind](rows[:300])
    for part in (rows[300:301], rows[301:420], rows[420:]):
        grown.add(part)
    assert len(grown) == 500
    queries = np.concatenate([features(30, 48, 9), 3 * features(30, 48, 10)])
    np.testing.assert_allclose(grown.search(queries, 3)[0], plain(rows, queries, 3)[0], rtol=1e-5)
    np.testing.assert_array_equal(grown.search(queries, 3)[1], plain(rows, queries, 3)[1])


@every_kind
@pytest.mark.parametrize("k", [1, 9])
def test_a_query_gives_the_same_bits_alone_and_in_any_batch(kind: str, k: int) -> None:
    """A frame's distances do not depend on what else is searched with them."""
    index = KINDS[kind](features(900, 152, 11))
    queries = features(200, 152, 12)
    distances, nearest = index.search(queries, k)
    for part in (slice(0, 1), slice(7, 60), slice(100, 200)):
        alone = index.search(queries[part], k)
        np.testing.assert_array_equal(alone[0].view(np.uint32), distances[part].view(np.uint32))
        np.testing.assert_array_equal(alone[1], nearest[part])


@every_kind
def test_a_query_that_cannot_be_answered_is_refused(kind: str) -> None:
    """More neighbours than rows, and another width, are errors that say what was found and expected."""
    index = KINDS[kind](features(20, 8, 16))
    with pytest.raises(ValueError, match="found 21, expected 1 to 20"):
        index.search(features(2, 8, 17), 21)
    with pytest.raises(ValueError, match=r"found shape \(2, 9\), expected \(n, 8\)"):
        index.search(features(2, 9, 17), 1)


@every_kind
@pytest.mark.parametrize("k", [1, 5, 80])
def test_the_farthest_queries_are_those_of_the_whole_search(kind: str, k: int) -> None:
    """Numbers, distances and rows, by falling distance; of equal queries the first; all where k exceeds them."""
    rows = features(900, 24, 1)
    index = KINDS[kind](rows[:500])
    index.add(rows[500:])
    queries = np.concatenate([features(60, 24, 2), rows[:4], features(1, 24, 3) + 30, features(60, 24, 2)[::-1]])
    distances, nearest = index.search(queries, 1)
    order = np.lexsort((np.arange(len(queries)), -distances[:, 0]))[:k]
    places, found, near = index.farthest(queries, k)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(found, distances[order, 0])
    np.testing.assert_array_equal(near, nearest[order, 0])


@every_kind
def test_an_index_over_other_rows_knows_nothing_of_the_first(kind: str) -> None:
    """`with_rows` gives an index of the same kind over other rows, and leaves the first as it was."""
    rows, others, queries = features(80, 24, 1), features(50, 24, 2), features(9, 24, 3)
    first = KINDS[kind](rows)
    second = first.with_rows(others)
    assert (type(second), len(second), len(first)) == (type(first), 50, 80)
    np.testing.assert_array_equal(second.search(queries, 2)[1], plain(others, queries, 2)[1])
    np.testing.assert_array_equal(first.search(queries, 2)[1], plain(rows, queries, 2)[1])


def test_a_shallow_copy_grows_beside_its_index() -> None:
    """Where an index says so, its copy takes rows in while the index itself is searched as it is."""
    rows, queries = features(120, 24, 1), features(9, 24, 3)
    for make in KINDS.values():
        index = make(rows[:100])
        index.add(rows[100:101])  # now there is room for more
        if not index.copy_can_grow:
            continue
        grown = copy(index)
        grown.add(rows[101:])
        np.testing.assert_array_equal(index.search(queries, 3)[1], plain(rows[:101], queries, 3)[1])
        np.testing.assert_array_equal(grown.search(queries, 3)[1], plain(rows, queries, 3)[1])
    assert PrunedSearch.copy_can_grow


def test_the_nearest_candidates_are_taken_in_order() -> None:
    """By distance, then by row; arrays and tensors alike."""
    sq = np.array([[4, 1, 1, 9]], dtype=np.float32)
    candidates = np.array([[2, 7, 5, 0]])
    distances, rows = take_nearest(sq, candidates, 3)
    assert (distances.tolist(), rows.tolist()) == ([[1, 1, 4]], [[5, 7, 2]])
    stored = torch.tensor([[3.0], [0.0], [2.0], [1.0], [0.0], [1.0]])
    measured, found = nearest_measured(torch.zeros(1, 1), stored, torch.tensor([[5, 2, 3, 4, 1]]), 4)
    assert (measured.tolist(), found.tolist()) == ([[0, 0, 1, 1]], [[1, 4, 3, 5]])


def test_the_farthest_queries_are_taken_in_order() -> None:
    """By falling distance, then by number."""
    distances, nearest = np.array([2, 5, 5, 1], dtype=np.float32), np.array([8, 6, 7, 9])
    numbers, far, rows = take_farthest(distances, nearest, 3)
    assert (numbers.tolist(), far.tolist(), rows.tolist()) == ([1, 2, 0], [5, 5, 2], [6, 7, 8])


def test_pairs_are_measured_by_differences() -> None:
    """Each pair by itself; no pairs give no distances."""
    queries, rows = features(3, 8, 1), features(4, 8, 2)
    query_of, row_of = np.array([0, 2, 2, 1]), np.array([3, 0, 0, 1])
    expected = ((queries[query_of].astype(np.float64) - rows[row_of]) ** 2).sum(1)
    np.testing.assert_allclose(sq_pairs(queries, query_of, rows, row_of), expected, rtol=1e-6)
    assert sq_pairs(queries, query_of[:0], rows, row_of[:0]).shape == (0,)


@pytest.mark.parametrize(("shape", "k"), [((3, 7), 1), ((8,), 1), ((3, 8), 0), ((3, 8), 5)])
def test_queries_are_checked(shape: tuple[int, ...], k: int) -> None:
    """A wrong width, no batch, and k below 1 or above the rows are refused; what fits comes back contiguous."""
    with pytest.raises(ValueError, match="expected"):
        check_queries(np.zeros(shape, dtype=np.float32), k, 8, 4)
    kept = check_queries(np.zeros((8, 3), dtype=np.float32).T, 4, 8, 4)
    assert (kept.shape, kept.flags.c_contiguous) == ((3, 8), True)


def test_the_least_of_each_query_is_found() -> None:
    """The lowest row of those at the same distance."""
    rows, starts = np.array([4, 2, 7, 9, 1]), np.array([0, 1, 4, 5])
    best, row = np.empty(3, np.float32), np.empty(3, np.int64)
    least_of_pairs(np.array([3, 2, 1, 1, 5], np.float32), rows, starts, best, row)
    assert (best.tolist(), row.tolist()) == ([3, 1, 5], [4, 7, 1])
