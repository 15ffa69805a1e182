"""Large frames in overlapping tiles, so that memory is that of a band of tiles, however large the frame.

Tiles begin on multiples of the coarsest stage's stride, so a tile's feature maps are cut on the frame's own lattice.
Where tiles overlap, each patch is taken from the tile in which it lies most centrally: the seam runs through the middle
of the overlap, and no patch nearer to a tile's edge than half the overlap is used. With an overlap as wide as the
network's receptive field the embeddings are those of the whole frame; with a narrower one, those along seams also
reflect the network's padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import ceil

import numpy as np
import torch
from torch import Tensor

from patchline.engine.errors import RecipeError
from patchline.engine.features.extractor import FeatureExtractor
from patchline.engine.features.patches import PatchOptions
from patchline.engine.features.preprocess import level
from patchline.engine.recipe import Recipe, Tiling
from patchline.engine.types import Image


@dataclass(frozen=True, slots=True)
class Cut:
    """One tile along one axis, in pixels: where it begins, and the part of the frame that is taken from it."""

    start: int
    first: int
    end: int


def cuts(length: int, tile: int, overlap: int, stride: int) -> list[Cut]:
    """Cut one axis into tiles.

    Args:
        length: px of the axis, a multiple of `stride`.
        tile: px of a tile, a multiple of `stride`.
        overlap: px that neighbouring tiles share at least; each advances by one stride or more all the same.
        stride: px between patches of the coarsest stage.

    Returns:
        The tiles in order; all their numbers are multiples of `stride`.
    """
    if length <= tile:
        return [Cut(0, 0, length)]
    step = max(stride, (tile - overlap) // stride * stride)
    count = ceil((length - tile) / step) + 1
    starts = [min(number * step, length - tile) for number in range(count)]
    seams = [(before + tile + after) // 2 // stride * stride for before, after in pairwise(starts)]
    return [Cut(*cut) for cut in zip(starts, [0, *seams], [*seams, length], strict=True)]


class TiledExtractor:
    """Patch embeddings of a recipe's frames, band by band; a recipe without tiles has one band, the whole frame."""

    def __init__(self, recipe: Recipe, extractor: FeatureExtractor) -> None:
        """Prepare the cuts; raises RecipeError where tiles and backbone do not fit together."""
        self._extractor = extractor
        self._size_px = recipe.image_size_px
        self._tiling = recipe.tiling
        self.options = PatchOptions.of(recipe)
        self.pass_size_px = recipe.image_size_px
        """(H, W) of what goes through the backbone at once."""
        self.tiles = 1
        """How many such passes a frame takes."""
        if self._tiling is None:
            return
        if recipe.centring:
            raise RecipeError(
                f"recipe {recipe.name!r}: centring takes the mean of a whole frame, which tiles do not know; "
                f"expected centring or tiling, not both"
            )
        self._fine, self._coarse = _strides(extractor, recipe, self._tiling)
        # The frame is levelled before it is cut: tiles levelled by themselves would differ in brightness.
        self._tile_options = replace(self.options, levelling=False)
        padded = [ceil(side / self._coarse) * self._coarse for side in recipe.image_size_px]
        self._rows, self._columns = (
            cuts(side, self._tiling.tile_px, self._tiling.overlap_px, self._coarse) for side in padded
        )
        self._padding = [(0, after - side) for after, side in zip(padded, recipe.image_size_px, strict=True)]
        self.pass_size_px = (min(self._tiling.tile_px, padded[0]), min(self._tiling.tile_px, padded[1]))
        self.tiles = len(self._rows) * len(self._columns)

    @cached_property
    def grid(self) -> tuple[int, int]:
        """The patch grid (h, w) of a frame."""
        if self._tiling is None:
            return self._whole[1]
        return ceil(self._size_px[0] / self._fine), ceil(self._size_px[1] / self._fine)

    @cached_property
    def dimensions(self) -> int:
        """D, the values of an embedding."""
        if self._tiling is None:
            return self._whole[0]
        blank = np.zeros((*self.pass_size_px, 3), dtype=np.uint8)
        return int(self._extractor.embed([blank], self._tile_options)[0].shape[2])

    @cached_property
    def _whole(self) -> tuple[int, tuple[int, int]]:
        """D and the patch grid of a frame that is seen at once."""
        embeddings, grid = self._extractor.embed([np.zeros((*self._size_px, 3), dtype=np.uint8)], self.options)
        return int(embeddings.shape[2]), grid

    def bands(self, image: Image) -> Iterator[Tensor]:
        """Embeddings of a prepared image from top to bottom, float32 (rows * w, D), row-major on the grid."""
        if self._tiling is None:
            yield self._extractor.embed([image], self.options)[0][0]
            return
        image = self._padded(image)
        batch = self._extractor.batch_size(self.pass_size_px)
        for row in self._rows:
            parts = []
            for start in range(0, len(self._columns), batch):
                columns = self._columns[start : start + batch]
                tiles = [self._tile(image, row, column) for column in columns]
                embeddings, grid = self._extractor.embed(tiles, self._tile_options)
                for values, column in zip(embeddings.view(len(tiles), *grid, -1), columns, strict=True):
                    parts.append(values[self._kept(row), self._kept(column)].clone())
            band = torch.cat(parts, dim=1)  # (rows, w', D)
            below = self.grid[0] - row.first // self._fine
            yield band[:below, : self.grid[1]].reshape(-1, band.shape[2])

    def passes(self, image: Image) -> Iterator[Image]:
        """What goes through the backbone for a prepared image, levelled and cut, RGB uint8 (H, W, 3) each."""
        if self._tiling is None:
            yield level(image) if self.options.levelling else image
            return
        image = self._padded(image)
        yield from (self._tile(image, row, column) for row in self._rows for column in self._columns)

    def _padded(self, image: Image) -> Image:
        """The image, levelled where the recipe asks, up to whole strides of the coarsest stage."""
        if self.options.levelling:
            image = level(image)
        return np.pad(image, (*self._padding, (0, 0)), mode="edge")

    def _tile(self, image: Image, row: Cut, column: Cut) -> Image:
        height, width = self.pass_size_px
        return image[row.start : row.start + height, column.start : column.start + width]

    def _kept(self, cut: Cut) -> slice:
        return slice((cut.first - cut.start) // self._fine, (cut.end - cut.start) // self._fine)


def _strides(extractor: FeatureExtractor, recipe: Recipe, tiling: Tiling) -> tuple[int, int]:
    """Pixels between patches, and between patches of the coarsest stage; RecipeError where the tiling does not fit."""
    name, tile, overlap = recipe.name, tiling.tile_px, tiling.overlap_px
    if tile < 32 or not 0 <= overlap <= tile // 2:
        raise RecipeError(
            f"recipe {name!r}: tiling is {tile} px with {overlap} px overlap; expected a tile of 32 px or more and an "
            f"overlap of at most half of it"
        )
    blank = np.zeros((1, tile, tile, 3), dtype=np.uint8)
    heights = [feature_map.shape[2] for feature_map in extractor.feature_maps(extractor.normalise(blank))]
    strides = [tile // height for height in heights]
    if any(stride * height != tile for stride, height in zip(strides, heights, strict=True)):
        coarsest = max(2 ** round(np.log2(tile / height)) for height in heights)
        raise RecipeError(
            f"recipe {name!r}: tiling is {tile} px, no multiple of the backbone's stride; "
            f"expected a multiple of {coarsest}"
        )
    stride = max(recipe.patch_stride_px or 0, min(strides))
    if max(strides) % stride:
        raise RecipeError(
            f"recipe {name!r}: patch_stride_px is {stride}; expected a divisor of {max(strides)} where frames are tiled"
        )
    return stride, max(strides)
