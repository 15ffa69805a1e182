"""The score of a frame: Eq. 6-7 as written, its limits, and one formula for arrays and tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.inspection.scoring import Score, Scorer, mean_of_farthest, reweighted
from patchline.engine.search.flat import FaissSearch


@given(seed=st.integers(0, 200), b=st.integers(1, 12))
def test_score_is_equation_7(seed: int, b: int) -> None:
    """The score is Eq. 7 as written, in float64, for any number of neighbours up to the bank's rows."""
    rng = np.random.default_rng(seed)
    rows, patches = rng.normal(size=(10, 5)).astype(np.float32), rng.normal(size=(7, 5)).astype(np.float32)
    index = FaissSearch(rows)
    distances, nearest = index.search(patches, 1)
    score = Scorer(rows, index, b).score(patches, distances[:, 0], nearest[:, 0])
    table = np.linalg.norm(patches[:, None].astype(np.float64) - rows[None], axis=2)
    worst = int(table.min(1).argmax())
    m_star = int(table[worst].argmin())
    around = np.argsort(np.linalg.norm(rows.astype(np.float64) - rows[m_star], axis=1), kind="stable")[:b]
    s_star = table[worst, m_star]
    weight = 1 - np.exp(s_star) / np.exp(table[worst, around]).sum() if b > 1 else 1
    assert (score.worst_patch, score.nearest_row) == (worst, m_star)
    assert score.value == pytest.approx(weight * s_star, rel=1e-5)


def test_score_of_far_patches_is_finite() -> None:
    """Distances whose exponentials overflow still give the limit of Eq. 7."""
    rows = np.array([[0.0], [1e4]], dtype=np.float32)
    patches = np.array([[-2e4]], dtype=np.float32)
    index = FaissSearch(rows)
    distances, nearest = index.search(patches, 1)
    assert Scorer(rows, index, 9).score(patches, distances[:, 0], nearest[:, 0]).value == 2e4


def test_a_row_is_among_its_own_neighbours_where_many_equal_it() -> None:
    """Of four equal rows the last is m*, though its two nearest by number are the first two; the weight is 1/2."""
    rows = np.array([[0.0], [0.0], [0.0], [0.0], [50.0]], dtype=np.float32)
    scorer = Scorer(rows, FaissSearch(rows), 2)
    for _ in range(2):  # the second time from what is remembered
        score = scorer.score_worst(np.array([3.0], dtype=np.float32), np.array([3.0], dtype=np.float32), 5, 3)
        assert score == Score(1.5, 5, 3)


def test_the_first_of_equally_far_patches_is_the_worst() -> None:
    """Ties go to the first patch, and its own nearest row is m*."""
    rows = np.array([[0.0], [10.0]], dtype=np.float32)
    patches = np.array([[1.0], [-4.0], [14.0]], dtype=np.float32)
    score = Scorer(rows, FaissSearch(rows), 1).score(
        patches, np.array([1.0, 4.0, 4.0], dtype=np.float32), np.array([0, 0, 1])
    )
    assert score == Score(4.0, 1, 0)


def test_a_frame_may_score_by_the_mean_of_its_farthest_patches() -> None:
    """With k = 2 the two farthest count, not re-weighted; where there are fewer patches, all."""
    rows = np.zeros((3, 1), dtype=np.float32)
    scorer = Scorer(rows, FaissSearch(rows), 3, 2)
    distances = np.array([1.0, 5.0, 3.0], dtype=np.float32)
    score = scorer.score(distances[:, None], distances, np.array([2, 1, 0]))
    assert score == Score(4.0, 1, 1)
    assert mean_of_farthest(distances, 1) == 5.0
    assert mean_of_farthest(distances, 9) == 3.0


@given(frames=st.integers(1, 6), b=st.integers(2, 9), reach=st.sampled_from([0.1, 1.0, 900.0]))
def test_one_formula_serves_arrays_and_tensors(frames: int, b: int, reach: float) -> None:
    """A batch on a device and a frame on the CPU go through the same Eq. 7: equal to 12 digits, and frame by frame."""
    distances = np.random.default_rng(frames * b).random((frames, b)) * reach
    s_star, largest = distances[:, 0], distances.max(1)
    values = reweighted(s_star, distances, largest, np.exp)
    tensors = torch.from_numpy(distances)
    on_device = reweighted(tensors[:, 0], tensors, tensors.amax(1), torch.exp)
    np.testing.assert_allclose(on_device.numpy(), values, rtol=1e-12)
    for frame in range(frames):
        one = slice(frame, frame + 1)
        assert reweighted(s_star[one], distances[one], largest[one], np.exp) == values[frame]
        with np.errstate(over="ignore"):
            plain = (1 - 1 / np.exp(distances[frame] - s_star[frame]).sum()) * s_star[frame]
        if np.isfinite(plain):
            assert values[frame] == pytest.approx(plain, rel=1e-9, abs=1e-12)
