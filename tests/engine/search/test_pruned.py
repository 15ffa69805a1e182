"""The search by 8-bit codes: the rows of the flat search, few of them measured, few queries searched to the end."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchline.engine.search import pruned
from patchline.engine.search.flat import FaissSearch
from patchline.engine.search.index import sq_pairs
from patchline.engine.search.int8_codes import code_dtype
from patchline.engine.search.pruned import PrunedSearch
from patchline.engine.types import Floats, Indices
from tests.engine.search.indexes import features


def vectors(count: int, seed: int, size: float = 1.0) -> NDArray[np.float32]:
    """Vectors (count, 40), most of their spread in a few directions."""
    rng = np.random.default_rng(seed)
    spread = size * np.geomspace(30, 0.1, 40)
    return (rng.normal(size=(count, 40)) * spread + 7).astype(np.float32)


def test_faiss_and_pruned_give_the_same_bits() -> None:
    """Which of the two `auto` picks does not show in the result."""
    rows, queries = features(3000, 152, 13), features(300, 152, 14)
    for k in (1, 9):
        ours, theirs = PrunedSearch(rows).search(queries, k), FaissSearch(rows).search(queries, k)
        np.testing.assert_array_equal(ours[0].view(np.uint32), theirs[0].view(np.uint32))
        np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("k", [1, 9])
def test_few_pairs_are_all_measured_and_many_ruled_out_with_the_same_bits(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is there twice, so that ties are among the nearest; for few pairs no codes are made."""
    rows, queries = np.repeat(features(300, 24, 1), 2, axis=0), features(pruned.FEW_QUERIES, 24, 2)
    index = PrunedSearch(rows)
    monkeypatch.setattr(pruned, "FEW_VALUES", 0)
    by_codes = index.search(queries, k)
    monkeypatch.setattr(pruned, "FEW_VALUES", rows.size * len(queries))
    monkeypatch.setattr(index, "_space", None)
    of_all = index.search(queries, k)
    np.testing.assert_array_equal(of_all[0].view(np.uint32), by_codes[0].view(np.uint32))
    np.testing.assert_array_equal(of_all[1], by_codes[1])


def test_few_rows_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pairs, codes leave less than one in fifty, and queries far outside the box do not change that."""
    measured: list[int] = []

    def counted(queries: Floats, query_of: Indices, rows: Floats, row_of: Indices) -> Floats:
        measured.append(len(query_of))
        return sq_pairs(queries, query_of, rows, row_of)

    monkeypatch.setattr(pruned, "sq_pairs", counted)
    rows, queries = vectors(4000, 6), np.concatenate([vectors(300, 7), vectors(50, 8, 1000.0)])
    distances, nearest = PrunedSearch(rows).search(queries, 1)
    assert 350 <= sum(measured) < 0.02 * 350 * 4000
    expected = np.sqrt(((queries[:, None].astype(np.float64) - rows) ** 2).sum(2))
    np.testing.assert_array_equal(nearest[:, 0], expected.argmin(1))
    np.testing.assert_allclose(distances[:, 0], expected.min(1), rtol=1e-5)


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


def test_no_queries_give_no_answers() -> None:
    """An empty batch comes back empty."""
    distances, nearest = PrunedSearch(features(50, 24, 1)).search(np.empty((0, 24), dtype=np.float32), 3)
    assert (distances.shape, nearest.shape) == ((0, 3), (0, 3))


def test_rows_far_outside_the_box_have_all_rows_coded_anew() -> None:
    """Once joined rows have made the largest error too large, the code space is made anew for all rows."""
    rows, far = features(300, 24, 1), 50 * features(30, 24, 2)
    index = PrunedSearch(rows)
    space = index._space
    index.add(rows[:1])
    assert index._space is space
    index.add(far)
    assert index._space is not space
    assert index._error == index._first_error
    np.testing.assert_array_equal(index.search(far, 1)[1][:, 0], np.arange(301, 331))


def test_stored_rows_that_codes_cannot_tell_apart_are_found() -> None:
    """Compared with all rows by products, each is at distance 0 from itself, whichever way rounding went."""
    rows = features(600, 1536, 3)
    sq, nearest = PrunedSearch(rows, 16)._nearest_flat(rows)
    np.testing.assert_array_equal(nearest, np.arange(600))
    assert not sq.any()


def test_it_says_how_codes_are_multiplied() -> None:
    """For whoever reads how long a search took."""
    expected = str(code_dtype()).removeprefix("torch.")
    assert PrunedSearch(features(50, 24, 1), 16).way == f"codes of 16 values multiplied as {expected}"
