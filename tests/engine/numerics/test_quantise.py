"""Embeddings as 16-bit integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.errors import EngineError
from patchline.engine.numerics.quantise import HEADROOM, LIMIT, dequantise, quantise, scale_for


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
