"""Feature maps to patch embeddings: 3x3 local aggregation, alignment to the finest grid, concatenation.

Roth et al. 2022, section 3.1: each patch is averaged over its 3x3 neighbourhood (zeros beyond the border count, as in
the reference implementation), coarser maps are brought bilinearly to the finest, and channels are joined.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


def embed(feature_maps: Sequence[Tensor]) -> tuple[Tensor, tuple[int, int]]:
    """Join feature maps into patch embeddings.

    Args:
        feature_maps: one (B, C_i, h_i, w_i) float tensor for each tapped stage, in the stages' order.

    Returns:
        Embeddings (B, h*w, D), D the sum of C_i, row-major over the grid, in the maps' dtype; and the grid (h, w).
    """
    grid = max((tuple(m.shape[-2:]) for m in feature_maps), key=lambda hw: hw[0] * hw[1])
    aligned = []
    for feature_map in feature_maps:
        aggregated = avg_pool2d(feature_map, kernel_size=3, stride=1, padding=1)
        if tuple(aggregated.shape[-2:]) != grid:
            aggregated = interpolate(aggregated, size=grid, mode="bilinear", align_corners=False)
        aligned.append(aggregated)
    joined = torch.cat(aligned, dim=1)  # (B, D, h, w)
    h, w = grid
    return joined.permute(0, 2, 3, 1).reshape(joined.shape[0], h * w, joined.shape[1]).contiguous(), (h, w)
