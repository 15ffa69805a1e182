import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchline.engine.search.device import DeviceSearch
from patchline.engine.search.factory import SearchKind, _seconds, make_search
from patchline.engine.search.flat import FaissSearch, TorchSearch
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.search.pruned import PrunedSearch
from patchline.engine.types import Floats, Indices

KINDS: dict[str, Callable[[NDArray[np.float32]], NearestNeighbours]] = {
    "faiss": FaissSearch,
    "torch": TorchSearch,
    "pruned": PrunedSearch,
    "pruned on 16 axes": lambda rows: PrunedSearch(rows, 16),
    "device": DeviceSearch,
    "device, half precision": lambda rows: DeviceSearch(rows, half=True),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def features(count: int, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Rows near a curved low-dimensional sheet, far from the origin, on the grid of a 16-bit file."""
    mixing = np.random.default_rng(99).normal(size=(12, dimensions))
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(count, 12)) @ mixing) + 0.1 * rng.normal(size=(count, dimensions)) + 20
    return np.rint(values.astype(np.float32) * 512) / np.float32(512)


def plain(
    rows: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same by definition, in float64."""
    distances = np.stack([np.sqrt(((rows.astype(np.float64) - query) ** 2).sum(1)) for query in queries])
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


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


def test_faiss_and_pruned_give_the_same_bits() -> None:
    """Which of the two `auto` picks does not show in the result."""
    rows, queries = features(3000, 152, 13), features(300, 152, 14)
    for k in (1, 9):
        ours, theirs = PrunedSearch(rows).search(queries, k), FaissSearch(rows).search(queries, k)
        np.testing.assert_array_equal(ours[0].view(np.uint32), theirs[0].view(np.uint32))
        np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("kind", ["auto", "faiss", "torch", "pruned"])
def test_every_kind_can_be_made_by_name(kind: SearchKind) -> None:
    """`make_search` gives a working index of each kind, and refuses rows that make none."""
    rows = features(1200, 16, 15)
    np.testing.assert_array_equal(make_search(kind, rows).search(rows[5:6], 1)[1], [[5]])
    with pytest.raises(ValueError, match=r"\(0, 16\)"):
        make_search(kind, rows[:0])


def test_a_search_that_has_to_wait_for_a_core_is_not_taken_for_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` counts time on a core: it picks alike on a machine where others are busy."""
    index, queries = FaissSearch(features(1200, 16, 15)), features(10, 16, 16)
    searched = index.search

    def waiting(queries: Floats, k: int) -> tuple[Floats, Indices]:
        time.sleep(0.2)
        return searched(queries, k)

    monkeypatch.setattr(index, "search", waiting)
    assert _seconds(index, queries) < 0.1


@pytest.mark.parametrize("half", [False, True])
def test_bounds_rule_out_most_rows_of_far_queries_too(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device few rows are measured, and queries far outside the range of half precision find their rows."""
    rows = features(4000, 152, 18)
    queries = np.concatenate([features(300, 152, 19), 1e4 * features(5, 152, 20)])
    index = DeviceSearch(rows, half=half)
    measured: list[int] = []
    sq = index._sq
    monkeypatch.setattr(index, "_sq", lambda Q, of, rows: measured.append(len(of)) or sq(Q, of, rows))
    distances, nearest = index.search(queries[:300], 1)
    assert sum(measured) < 0.05 * 300 * len(rows)
    far = index.search(queries[300:], 3)
    index.add(100 * rows[:20])  # far outside the range that the first rows have
    np.testing.assert_array_equal(index.search(100 * rows[:20], 1)[1][:, 0], np.arange(4000, 4020))
    expected, order = plain(rows, queries, 3)
    np.testing.assert_allclose(distances, expected[:300, :1], rtol=1e-5)
    np.testing.assert_array_equal(nearest, order[:300, :1])
    np.testing.assert_allclose(far[0], expected[300:], rtol=1e-5)


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


def test_a_search_in_inference_mode_leaves_the_others_alone() -> None:
    """What a thread keeps between searches may be used in either mode, whichever came first."""
    rows = features(300, 24, 1)
    index = PrunedSearch(rows)

    def search() -> None:
        with torch.inference_mode():
            index.search(rows[:40], 1)
        index.search(rows[:40], 1)

    with ThreadPoolExecutor(1) as fresh:
        fresh.submit(search).result(60)


def test_few_queries_are_searched_for_the_farthest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of good patches with one defect among them hardly any is compared with more than the first rows."""
    rows = features(8000, 24, 1)
    index = PrunedSearch(rows)
    queries = rows[::10] + np.float32(0.25)
    queries[123] += 40
    searched: list[int] = []
    one = PrunedSearch._nearest_one

    def counted(self: PrunedSearch, some: NDArray[np.float32], *more: Any) -> Any:
        searched.append(len(some))
        return one(self, some, *more)

    monkeypatch.setattr(PrunedSearch, "_nearest_one", counted)
    places, _, _ = index.farthest(queries, 1)
    assert places[0] == 123
    assert sum(searched) < len(queries) // 4
