"""What of the light may change without the part having changed: taken out of the pixels and of the feature maps.

Exposure multiplies every pixel, so a gain that brings the median grey to one level undoes it and leaves contrast as it
is; bringing the standard deviation to one level as well would hide the defects that raise it. What the light adds to
all of a feature map alike is removed as the frame's own mean of each channel.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from engine.inspection import Image
from engine.preprocess import check_image

LEVEL = 110
"""Median grey, in uint8 units, that frames are brought to."""


def level(image: Image) -> Image:
    """Scale an RGB uint8 (H, W, 3) image so that the median of its grey is `LEVEL`; brighter than 255 saturates.

    Raises:
        ImageError: `image` is not RGB uint8 (H, W, 3).
    """
    check_image(image)
    median = max(float(np.median(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))), 1.0)
    # A table of 256 values: the same result on any machine, and no float image.
    table = np.clip(np.rint(np.arange(256) * (LEVEL / median)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(table[image])


def embed_centred(feature_maps: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Patch embeddings without each frame's own mean of each channel.

    As `patches.embed`, but the maps are brought to a given grid: finer ones by averaging over area.

    Args:
        feature_maps: one (B, C_i, h_i, w_i) float tensor for each tapped stage, in the stages' order.
        grid: (h, w) of the patches.

    Returns:
        (B, h*w, D), D the sum of C_i, row-major over the grid, in the maps' dtype.
    """
    aligned = []
    for feature_map in feature_maps:
        centred = feature_map - feature_map.mean((2, 3), keepdim=True)
        aggregated = avg_pool2d(centred, kernel_size=3, stride=1, padding=1)
        if aggregated.shape[-1] > grid[1]:
            aggregated = adaptive_avg_pool2d(aggregated, grid)
        elif tuple(aggregated.shape[-2:]) != grid:
            aggregated = interpolate(aggregated, size=grid, mode="bilinear", align_corners=False)
        aligned.append(aggregated)
    joined = torch.cat(aligned, dim=1)  # (B, D, h, w)
    return joined.permute(0, 2, 3, 1).reshape(joined.shape[0], grid[0] * grid[1], joined.shape[1]).contiguous()
