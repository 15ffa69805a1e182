from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchline.engine.coreset.candidate_pairs import CandidatePairs
from patchline.engine.coreset.centre_distances import CentreDistances
from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.coreset.lower_bounds import Bounds, FloatBounds
from patchline.engine.numerics.projection import principal_axes
from tests.engine.coreset.test_locality import frames


def features(count: int, dimensions: int, seed: int) -> NDArray[np.int16]:
    """Integers near a curved sheet of ten dimensions, as patch embeddings are."""
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(count, 10)) @ rng.normal(size=(10, dimensions)))
    return np.rint(1500 * (values + 0.1 * rng.normal(size=(count, dimensions)))).astype(np.int16)


def plain_greedy(vectors: NDArray[np.int16], count: int, seed: int) -> tuple[list[int], float]:
    """Greedy k-center by definition: one pass over all vectors for each centre."""
    X = vectors.astype(np.float64)
    chosen = [int(np.random.default_rng(seed).integers(len(X)))]
    sq = ((X - X[chosen[0]]) ** 2).sum(1)
    while len(chosen) < count:
        chosen.append(int(sq.argmax()))
        sq = np.minimum(sq, ((X - X[chosen[-1]]) ** 2).sum(1))
    return chosen, float(np.sqrt(sq.max()))


@pytest.mark.parametrize(("count", "dimensions", "wanted"), [(4000, 152, 400), (2500, 40, 700), (300, 3, 300)])
def test_rows_and_radius_are_those_of_plain_greedy(count: int, dimensions: int, wanted: int) -> None:
    """Blocks, bounds and float32 change the cost and nothing else: the same rows in the same order."""
    vectors = features(count, dimensions, 1)
    found = greedy_coreset(vectors, wanted, seed=5, scale=0.25)
    rows, radius = plain_greedy(vectors, wanted, 5)
    assert found.indices.tolist() == rows
    assert found.radius == 0.25 * radius


def test_vectors_at_the_ends_of_the_range_are_no_exception() -> None:
    """Integers of full size, where float32 sums round most, give the exact order too."""
    vectors = np.random.default_rng(2).choice([-32767, -32766, 32766, 32767], size=(600, 80)).astype(np.int16)
    found = greedy_coreset(vectors, 60, seed=0)
    rows, radius = plain_greedy(vectors, 60, 0)
    assert found.indices.tolist() == rows
    assert found.radius == radius


@pytest.mark.parametrize(("pairs", "passes"), [(0, 0), (0, 10**9)])
def test_both_ways_to_compare_choose_the_same(pairs: int, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds and measured pairs alone, or products in all dimensions alone: the rows are those of plain greedy."""
    monkeypatch.setattr("patchline.engine.coreset.candidate_pairs.MEASURED_COST", pairs)
    monkeypatch.setattr("patchline.engine.coreset.candidate_pairs.PASS_COST", passes)
    vectors = features(2000, 96, 9)
    found = greedy_coreset(vectors, 500, seed=0)
    rows, radius = plain_greedy(vectors, 500, 0)
    assert found.indices.tolist() == rows
    assert found.radius == radius


@pytest.mark.parametrize("bounds", ["codes", "floats", "none"])
def test_where_all_vectors_are_compared_at_once_the_rows_are_the_same(
    bounds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, by either kind of bounds, and where nothing is kept of the vectors."""

    def floats(sample: NDArray[np.float64], sq_norms: torch.Tensor, _: int) -> tuple[Bounds, int]:
        return FloatBounds(principal_axes(sample)[:, :16], sq_norms), 0

    monkeypatch.setattr("patchline.engine.coreset.centre_distances.LAZY_ON", ())
    monkeypatch.setattr("patchline.engine.coreset.candidate_pairs.PASS_COST", 0)
    if bounds == "floats":
        monkeypatch.setattr("patchline.engine.coreset.candidate_pairs.make_bounds", floats)
    if bounds == "none":
        monkeypatch.setattr("patchline.engine.coreset.candidate_pairs.CACHE_BYTES", 0)
    vectors = features(2000, 160, 11)
    found = greedy_coreset(vectors, 400, seed=0)
    rows, radius = plain_greedy(vectors, 400, 0)
    assert found.indices.tolist() == rows
    assert found.radius == radius


def comparisons(vectors: NDArray[np.int16], count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many pairs of a vector and a centre are compared, by bounds or products, for the rows of plain greedy."""
    compared: list[int] = []
    pairs = CandidatePairs.pairs

    def counted(
        self: CandidatePairs, rows: slice | torch.Tensor, upper: torch.Tensor, places: slice, by_bounds: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        compared.append(len(upper) * (places.stop - places.start))
        return pairs(self, rows, upper, places, by_bounds)

    with monkeypatch.context() as patched:
        patched.setattr(CandidatePairs, "pairs", counted)
        found = greedy_coreset(vectors, count, seed=0)
    rows, radius = plain_greedy(vectors, count, 0)
    assert found.indices.tolist() == rows
    assert found.radius == radius
    return sum(compared)


def test_vectors_near_a_centre_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine of ten vectors lie nearer together than any that is chosen, and meet few of the centres."""
    vectors = features(10000, 96, 12)
    vectors[1000:] = vectors[0] + vectors[1000:] // 500
    monkeypatch.setattr("patchline.engine.coreset.centre_distances.strides", lambda _: (1, -1))
    assert comparisons(vectors, 400, monkeypatch) < len(vectors) * 400 // 4


def test_vectors_beside_each_other_share_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches of frames in their order need fewer comparisons than if nothing were known of those beside them."""
    vectors = (frames(20, 32, 5, 12) @ np.random.default_rng(1).integers(-3, 4, size=(5, 96))).astype(np.int16)
    hinted = comparisons(vectors, 400, monkeypatch)
    monkeypatch.setattr("patchline.engine.coreset.centre_distances.HINTS", 0)
    assert hinted < 0.9 * comparisons(vectors, 400, monkeypatch)


def test_a_few_vectors_far_from_all_do_not_blur_the_others() -> None:
    """Norms of all sizes, as an untrained backbone gives: the order is exact, and still proven for many at a time."""
    rng = np.random.default_rng(10)
    values = features(3000, 160, 10) * rng.pareto(2.0, size=(3000, 1))
    vectors = np.rint(values * (32767 / np.abs(values).max())).astype(np.int16)
    steps: list[int] = []
    found = greedy_coreset(vectors, 300, seed=0, progress=lambda done, _: steps.append(done))
    assert found.indices.tolist() == plain_greedy(vectors, 300, 0)[0]
    assert len(steps) < 300 / 4


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_equal_distances_go_to_the_lowest_row(count: int, dimensions: int, largest: int, seed: int) -> None:
    """On a coarse grid most distances are equal; the order is that of plain greedy until every value is covered."""
    vectors = np.random.default_rng(seed).integers(-largest, largest + 1, size=(count, dimensions)).astype(np.int16)
    distinct = len(np.unique(vectors, axis=0))
    found = greedy_coreset(vectors, count, seed=seed)
    assert len(found.indices) == distinct
    assert found.indices.tolist() == plain_greedy(vectors, distinct, seed)[0]
    assert found.radius == 0


def test_every_vector_lies_within_the_covering_radius() -> None:
    """The radius holds for all vectors, and one of them attains it."""
    vectors = features(3000, 64, 3)
    found = greedy_coreset(vectors, 100, seed=1, scale=2**-7)
    X = vectors.astype(np.float64) * 2**-7
    nearest = np.sqrt(((X[:, None] - X[found.indices][None]) ** 2).sum(2).min(1))
    assert nearest.max() == pytest.approx(found.radius, rel=1e-12)


def test_a_memory_mapped_file_gives_the_same_rows(tmp_path: Path) -> None:
    """Vectors may stay on disk, and need not fit the cache of float32 values."""
    vectors = features(2000, 96, 4)
    vectors.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", dtype=np.int16, mode="r", shape=vectors.shape)
    np.testing.assert_array_equal(
        greedy_coreset(mapped, 150, seed=0).indices, greedy_coreset(vectors, 150, seed=0).indices
    )


def test_vectors_beyond_the_cache_are_converted_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for float32 values or projected points, the rows are the same."""
    vectors = features(2000, 96, 4)
    expected = greedy_coreset(vectors, 150, seed=0)
    monkeypatch.setattr("patchline.engine.coreset.candidate_pairs.CACHE_BYTES", 0)
    found = greedy_coreset(vectors, 150, seed=0)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.radius == expected.radius


def test_a_projection_chooses_otherwise_but_measures_in_the_original_space() -> None:
    """The radius of a projected choice is that of its rows among the full vectors, and the seed fixes the choice."""
    vectors = features(1500, 120, 6)
    found = greedy_coreset(vectors, 80, seed=2, projection=32)
    X = vectors.astype(np.float64)
    nearest = ((X[:, None] - X[found.indices][None]) ** 2).sum(2).min(1)
    assert found.radius == pytest.approx(np.sqrt(nearest.max()), rel=1e-12)
    again = greedy_coreset(vectors, 80, seed=2, projection=32)
    np.testing.assert_array_equal(again.indices, found.indices)
    assert found.indices.tolist() != greedy_coreset(vectors, 80, seed=2).indices.tolist()


def test_progress_ends_at_the_count() -> None:
    """Progress rises to the number wanted."""
    seen: list[tuple[int, int]] = []
    greedy_coreset(features(1000, 20, 7), 120, seed=0, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (120, 120)
    assert seen == sorted(seen)


def test_distances_in_doubt_are_settled_exactly() -> None:
    """Where two centres are equally near within float32's error, the exact distance is still the nearer one's."""
    rng = np.random.default_rng(8)
    vectors = rng.integers(20000, 20004, size=(400, 100)).astype(np.int16)
    vectors[0] = -20000  # large norms about the origin make small differences doubtful
    distances = CentreDistances(vectors)
    distances.add(np.arange(50))
    row, sq = distances.farthest()
    X = vectors.astype(np.float64)
    exact = ((X[:, None] - X[None, :50]) ** 2).sum(2).min(1)
    assert sq == exact.max()
    assert row == exact.argmax()


@pytest.mark.parametrize(
    ("vectors", "count", "text"),
    [
        (np.zeros((0, 4), np.int16), 1, r"found int16 \(0, 4\)"),
        (np.zeros((4, 4), np.float32), 1, "found float32"),
        (np.zeros((4, 4), np.int16), 5, "found 5, expected 1 to 4"),
        (np.zeros((4, 4), np.int16), 0, "found 0, expected 1 to 4"),
    ],
)
def test_impossible_requests_are_refused(vectors: NDArray[np.int16], count: int, text: str) -> None:
    """Errors say what was found and what was expected."""
    with pytest.raises(ValueError, match=text):
        greedy_coreset(vectors, count, seed=0)
