"""Small parts of the mathematics: stored values and patches, against their plain definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.errors import EngineError
from patchline.engine.features.patches import embed
from patchline.engine.features.preprocess import prepare
from patchline.engine.numerics.quantise import HEADROOM, LIMIT, dequantise, quantise, scale_for
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


def test_prepare_keeps_what_fits_and_averages_what_shrinks() -> None:
    """An image of the right size is returned as it is; a shrunken one keeps its mean colour."""
    image = texture(1)
    assert prepare(image, (64, 64)) is image
    shrunk = prepare(image, (16, 32))
    assert shrunk.shape == (16, 32, 3)
    assert shrunk.mean() == pytest.approx(image.mean(), abs=1)
    assert prepare(image, (100, 130)).shape == (100, 130, 3)
