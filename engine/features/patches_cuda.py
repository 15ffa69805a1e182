"""`features.patches.embed` and the normalisation of pixels on a GPU, by kernels: each map is read and written once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from patchline.engine.features import patch_kernels
from patchline.engine.features.patches import Grid, PatchOptions

NORMALISE = {"BLOCK": 512, "num_warps": 4}
CELLS = {"CELLS": 8, "num_warps": 4}
CHANNELS = 256
"""Tiles of the kernels."""


def normalised(pixels: Tensor, mean: Tensor, std: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """uint8 (B, H, W, 3) to (B, channels, H, W) of `dtype`, channels-last, zeros beyond the three.

    `mean` and `std` are float32 (3,), of pixel values.
    """
    B, H, W, C = pixels.shape
    out = torch.empty((B, H, W, channels), device=pixels.device, dtype=dtype)
    count = B * H * W
    patch_kernels.normalise_kernel[(-(-count // NORMALISE["BLOCK"]),)](
        pixels, mean, std, out, count, C, channels, 1 << (channels - 1).bit_length(), **NORMALISE
    )
    return out.permute(0, 3, 1, 2)


def fits(feature_maps: Sequence[Tensor], options: PatchOptions) -> bool:
    """Whether the kernels can do it: channels-last maps on a plain grid."""
    plain = options == PatchOptions(levelling=options.levelling)
    return plain and all(m.is_contiguous(memory_format=torch.channels_last) for m in feature_maps)


def embed(feature_maps: Sequence[Tensor]) -> tuple[Tensor, Grid]:
    """See `features.patches.embed`, of maps (B, C_i, h_i, w_i), channels-last, with no options."""
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
        patch_kernels.pool_kernel[-(-columns // CELLS["CELLS"]) * blocks, rows, B](
            feature_map, pooled, rows, columns, stride, start, C, CHANNELS, **CELLS
        )
        if not whole:
            patch_kernels.resize_kernel[-(-w // CELLS["CELLS"]) * blocks, h, B](
                pooled, joined, rows, columns, h, w, D, offset, C, CHANNELS, **CELLS
            )
        offset += C
    return joined, (h, w)
