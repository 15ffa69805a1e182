"""Small parts of the mathematics: stored values, patches, scores and maps, against their plain definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from patchline.engine.errors import EngineError
from patchline.engine.features.patches import embed
from patchline.engine.features.preprocess import prepare
from patchline.engine.inspection.anomaly_map import anomaly_map
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.numerics.quantise import HEADROOM, LIMIT, dequantise, quantise, scale_for
from patchline.engine.search.flat import FaissSearch
from tests.engine.conftest import texture


@given(largest=st.floats(1e-4, 1e6), seed=st.integers(0, 100))
def test_stored_values_are_half_a_step_away_at_most(largest: float, seed: int) -> None:
    """A value is stored within half a scale, the scale is a power of two, and storing twice changes nothing."""
    values = np.random.default_rng(seed).uniform(-largest, largest, (4, 9)).astype(np.float32)
    scale = scale_for(largest)
    assert np.frexp(scale)[0] == 0.5
    assert largest * HEADROOM <= scale * LIMIT < 4 * largest * HEADROOM
    stored = quantise(values, scale)
    assert np.abs(dequantise(stored, scale) - values).max() <= scale / 2 + 1e-6 * largest
    assert np.array_equal(quantise(dequantise(stored, scale), scale), stored)


def test_what_does_not_fit_saturates() -> None:
    """Values beyond the range keep their sign at the limit; a scale for infinity is refused."""
    assert quantise(np.array([[9e9, -9e9]], dtype=np.float32), 1.0).tolist() == [[LIMIT, -LIMIT]]
    with pytest.raises(EngineError, match="must be finite"):
        scale_for(float("inf"))


def test_patches_are_averages_aligned_to_the_finest_grid() -> None:
    """A patch is the mean of its 3x3 neighbourhood with zeros outside; a constant coarse map stays constant inside."""
    fine = torch.rand(2, 3, 8, 6)
    coarse = torch.full((2, 1, 4, 3), 5.0)
    embeddings, grid = embed([fine, coarse], (64, 48))
    assert grid == (8, 6)
    assert embeddings.shape == (2, 48, 4)
    inside = embeddings[1, 2 * 6 + 3]
    torch.testing.assert_close(inside[:3], fine[1, :, 1:4, 2:5].mean((1, 2)))
    corner = embeddings[0, 0]
    torch.testing.assert_close(corner[:3], fine[0, :, :2, :2].sum((1, 2)) / 9)


@given(seed=st.integers(0, 200), b=st.integers(1, 12))
def test_score_is_equation_7(seed: int, b: int) -> None:
    """The score is Eq. 7 as written, in float64, for any number of neighbours up to the bank's rows."""
    rng = np.random.default_rng(seed)
    rows, patches = rng.normal(size=(10, 5)).astype(np.float32), rng.normal(size=(7, 5)).astype(np.float32)
    index = FaissSearch(rows)
    distances, nearest = index.search(patches, 1)
    found = Scorer(rows, index, b).score(patches, distances[:, 0], nearest[:, 0])
    table = np.linalg.norm(patches[:, None].astype(np.float64) - rows[None], axis=2)
    worst = int(table.min(1).argmax())
    m_star = int(table[worst].argmin())
    around = np.argsort(np.linalg.norm(rows.astype(np.float64) - rows[m_star], axis=1), kind="stable")[:b]
    s_star = table[worst, m_star]
    weight = 1 - np.exp(s_star) / np.exp(table[worst, around]).sum() if b > 1 else 1
    assert (found.worst_patch, found.nearest_row) == (worst, m_star)
    assert found.value == pytest.approx(weight * s_star, rel=1e-5)


def test_score_of_far_patches_is_finite() -> None:
    """Distances whose exponentials overflow still give the limit of Eq. 7."""
    rows = np.array([[0.0], [1e4]], dtype=np.float32)
    patches = np.array([[-2e4]], dtype=np.float32)
    index = FaissSearch(rows)
    distances, nearest = index.search(patches, 1)
    assert Scorer(rows, index, 9).score(patches, distances[:, 0], nearest[:, 0]).value == 2e4


@given(h=st.integers(2, 12), w=st.integers(2, 12), H=st.integers(40, 90), W=st.integers(40, 90))
def test_map_is_bilinear_then_gaussian(h: int, w: int, H: int, W: int) -> None:
    """A map equals torch's bilinear interpolation followed by scipy's Gaussian, for any grid and size."""
    scores = np.random.default_rng(h * w).random((h, w)).astype(np.float32)
    up = torch.nn.functional.interpolate(torch.from_numpy(scores)[None, None].double(), (H, W), mode="bilinear")
    expected = gaussian_filter(up[0, 0].numpy(), 4.0 * H / 224, mode="mirror", truncate=4.0)
    np.testing.assert_allclose(anomaly_map(scores, (H, W), 4.0), expected, rtol=1e-5)


def test_prepare_keeps_what_fits_and_averages_what_shrinks() -> None:
    """An image of the right size is returned as it is; a shrunken one keeps its mean colour."""
    image = texture(1)
    assert prepare(image, (64, 64)) is image
    shrunk = prepare(image, (16, 32))
    assert shrunk.shape == (16, 32, 3)
    assert shrunk.mean() == pytest.approx(image.mean(), abs=1)
    assert prepare(image, (100, 130)).shape == (100, 130, 3)
