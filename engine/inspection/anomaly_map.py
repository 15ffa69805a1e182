"""Anomaly maps: patch scores brought bilinearly to the image's size and smoothed by a Gaussian.

Both steps are linear and act on rows and columns apart, so they are two small matrices: map = R @ scores @ C^T, with
R (H, h) and C (W, w) the Gaussian times the bilinear interpolation of one axis. One product makes a map on any device.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from patchline.engine.numerics.matmul import product
from patchline.engine.types import AnomalyMap

REFERENCE_HEIGHT_PX = 224
TRUNCATE_SIGMAS = 4.0


def anomaly_map(patch_scores: NDArray[np.float32], size_px: tuple[int, int], smoothing_sigma: float) -> AnomalyMap:
    """Upsample and smooth the patch scores of one frame.

    Args:
        patch_scores: float32 (h, w), the distance of each patch to its nearest row of the bank.
        size_px: (H, W) of the map.
        smoothing_sigma: of the Gaussian, in pixels at a height of 224 px; it grows in proportion to H. 0 smooths not.

    Returns:
        float32 (H, W).
    """
    sigma = smoothing_sigma * size_px[0] / REFERENCE_HEIGHT_PX
    rows = axis_operator(patch_scores.shape[0], size_px[0], sigma)
    columns = axis_operator(patch_scores.shape[1], size_px[1], sigma)
    return np.ascontiguousarray(product(product(rows, patch_scores), columns.T), dtype=np.float32)


@lru_cache(maxsize=32)
def axis_operator(cells: int, pixels: int, sigma: float) -> NDArray[np.float32]:
    """One axis of the map, float32 (pixels, cells): Gaussian (mirrored at the border) after bilinear interpolation."""
    # Half-pixel centres: pixel i lies at (i + 0.5) * cells / pixels - 0.5 on the grid, held inside it.
    position = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    lower = np.floor(position).astype(np.int64)
    upper = np.minimum(lower + 1, cells - 1)
    weight = position - lower
    operator = np.zeros((pixels, cells))
    np.add.at(operator, (np.arange(pixels), lower), 1 - weight)
    np.add.at(operator, (np.arange(pixels), upper), weight)
    if sigma > 0:
        operator = gaussian_filter1d(operator, sigma, axis=0, mode="mirror", truncate=TRUNCATE_SIGMAS)
    result = operator.astype(np.float32)
    result.setflags(write=False)
    return result
