"""Feature maps to patch embeddings: 3x3 local aggregation, alignment to one grid, concatenation.

Roth et al. 2022, section 3.1: each patch is averaged over its 3x3 neighbourhood (zeros beyond the border count, as in
the reference implementation), coarser maps are brought bilinearly to the finest grid, and channels are joined. A recipe
may ask for a coarser grid, to which finer maps are averaged over area, and for centred maps, from which the mean of
each channel is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

from torch import Tensor, cat
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from patchline.engine.recipe import Recipe

Grid = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchOptions:
    """What a recipe asks of its patch embeddings, beside the stages that they come from; see `Recipe`."""

    levelling: bool = False
    centring: bool = False
    stride_px: int | None = None

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """The options of a recipe."""
        return cls(levelling=recipe.levelling, centring=recipe.centring, stride_px=recipe.patch_stride_px)

    def grid(self, size_px: tuple[int, int], finest: Grid) -> Grid:
        """The patch grid (h, w) of an image of `size_px`, (H, W), whose finest feature map has the grid `finest`."""
        if self.stride_px is None:
            return finest
        h, w = (min(ceil(side / self.stride_px), most) for side, most in zip(size_px, finest, strict=True))
        return h, w


PLAIN = PatchOptions()
"""Nothing but the paper's steps."""


def embed(
    feature_maps: Sequence[Tensor], size_px: tuple[int, int], options: PatchOptions = PLAIN
) -> tuple[Tensor, Grid]:
    """Join feature maps into patch embeddings.

    Args:
        feature_maps: one (B, C_i, h_i, w_i) float tensor for each tapped stage, in the stages' order.
        size_px: (H, W) of the images.
        options: centring and the grid; levelling has been done to the pixels.

    Returns:
        Embeddings (B, h*w, D), D the sum of C_i, row-major over the grid, in the maps' dtype; and the grid (h, w).
    """
    finest = max((tuple(m.shape[-2:]) for m in feature_maps), key=lambda hw: hw[0] * hw[1])
    grid = options.grid(size_px, (finest[0], finest[1]))
    aligned = []
    for feature_map in feature_maps:
        if options.centring:
            feature_map = feature_map - feature_map.mean((2, 3), keepdim=True)
        aggregated = avg_pool2d(feature_map, kernel_size=3, stride=1, padding=1)
        if aggregated.shape[-2] > grid[0] or aggregated.shape[-1] > grid[1]:
            aggregated = adaptive_avg_pool2d(aggregated, grid)
        elif tuple(aggregated.shape[-2:]) != grid:
            aggregated = interpolate(aggregated, size=grid, mode="bilinear", align_corners=False)
        aligned.append(aggregated)
    joined = cat(aligned, dim=1)  # (B, D, h, w)
    h, w = grid
    return joined.permute(0, 2, 3, 1).reshape(joined.shape[0], h * w, joined.shape[1]).contiguous(), (h, w)
