"""Normalises pixels and makes patch embeddings on a GPU, by Triton kernels: each map is read and written once.

The same as `features.extractor` and `features.patches` do with torch. This module can be imported only where Triton is
installed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from patchline.engine.features import patch_kernels
from patchline.engine.features.patches import Grid, PatchOptions

NORMALISE_TILES = {"BLOCK": 512, "num_warps": 4}
CELL_TILES = {"CELLS": 8, "num_warps": 4}
CHANNELS = 256
"""Tiles of the kernels: cells and channels that one program computes."""


def normalise(pixels: Tensor, mean: Tensor, std: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """Bring pixels to what the network takes.

    Args:
        pixels: RGB uint8 (B, H, W, 3).
        mean: float32 (3,), of pixel values.
        std: float32 (3,), of pixel values.
        channels: 3, or more to be filled with zeros.
        dtype: of the result.

    Returns:
        (B, channels, H, W), channels-last.
    """
    B, H, W, C = pixels.shape
    out = torch.empty((B, H, W, channels), device=pixels.device, dtype=dtype)
    count = B * H * W
    patch_kernels.normalise_kernel[(-(-count // NORMALISE_TILES["BLOCK"]),)](
        pixels, mean, std, out, count, C, channels, 1 << (channels - 1).bit_length(), **NORMALISE_TILES
    )
    return out.permute(0, 3, 1, 2)


def supports(feature_maps: Sequence[Tensor], options: PatchOptions) -> bool:
    """Whether the kernels can embed these maps: channels-last ones, on the grid of the finest, not centred."""
    plain = options == PatchOptions(levelling=options.levelling)
    return plain and all(m.is_contiguous(memory_format=torch.channels_last) for m in feature_maps)


def embed_by_kernels(feature_maps: Sequence[Tensor]) -> tuple[Tensor, Grid]:
    """`features.patches.embed` without options, for maps (B, C_i, h_i, w_i) that are channels-last."""
    h, w = max((tuple(m.shape[-2:]) for m in feature_maps), key=lambda hw: hw[0] * hw[1])
    B, first = len(feature_maps[0]), feature_maps[0]
    D = sum(m.shape[1] for m in feature_maps)
    joined = torch.empty((B, h * w, D), device=first.device, dtype=first.dtype)
    offset = 0
    for feature_map in feature_maps:
        C, rows, columns = feature_map.shape[1:]
        blocks = -(-C // CHANNELS)
        whole = (rows, columns) == (h, w)
        pooled = joined if whole else torch.empty_like(feature_map)
        stride, start = (D, offset) if whole else (C, 0)
        patch_kernels.pool_kernel[-(-columns // CELL_TILES["CELLS"]) * blocks, rows, B](
            feature_map, pooled, rows, columns, stride, start, C, CHANNELS, **CELL_TILES
        )
        if not whole:
            patch_kernels.resize_kernel[-(-w // CELL_TILES["CELLS"]) * blocks, h, B](
                pooled, joined, rows, columns, h, w, D, offset, C, CHANNELS, **CELL_TILES
            )
        offset += C
    return joined, (h, w)
