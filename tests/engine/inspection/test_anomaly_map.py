"""Anomaly maps: bilinear interpolation, then a Gaussian that grows with the image."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from patchline.engine.inspection.anomaly_map import anomaly_map, axis_operator


@given(h=st.integers(2, 12), w=st.integers(2, 12), H=st.integers(40, 90), W=st.integers(40, 90))
def test_map_is_bilinear_then_gaussian(h: int, w: int, H: int, W: int) -> None:
    """A map equals torch's bilinear interpolation followed by scipy's Gaussian, for any grid and size."""
    scores = np.random.default_rng(h * w).random((h, w)).astype(np.float32)
    up = torch.nn.functional.interpolate(torch.from_numpy(scores)[None, None].double(), (H, W), mode="bilinear")
    expected = gaussian_filter(up[0, 0].numpy(), 4.0 * H / 224, mode="mirror", truncate=4.0)
    np.testing.assert_allclose(anomaly_map(scores, (H, W), 4.0), expected, rtol=1e-5)


def test_without_smoothing_it_is_the_interpolation_alone() -> None:
    """A sigma of 0 leaves each patch's score at the patch's middle, and halves between two patches."""
    scores = np.array([[0.0, 2.0]], dtype=np.float32)
    made = anomaly_map(scores, (1, 6), 0.0)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, [[0, 0, 2 / 3, 4 / 3, 2, 2]], rtol=1e-6)


def test_an_axis_is_made_once_and_cannot_be_changed() -> None:
    """The same axis is the same array, read-only, and each of its rows averages: it sums to 1."""
    operator = axis_operator(4, 20, 1.5)
    assert axis_operator(4, 20, 1.5) is operator
    assert not operator.flags.writeable
    assert operator.shape == (20, 4)
    assert operator.dtype == np.dtype(np.float32)
    np.testing.assert_allclose(operator.sum(1), 1, rtol=1e-5)
