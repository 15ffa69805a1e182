"""Tiles: no seams, every patch once, memory of a band."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from patchline.engine.errors import RecipeError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.patches import PLAIN, PatchOptions
from patchline.engine.features.preprocess import level
from patchline.engine.features.tiling import TiledExtractor, cuts
from patchline.engine.fitting.fit import fit
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.recipe import Recipe, Tiling
from patchline.engine.types import Image
from tests.engine.conftest import texture, textures

CPU = torch.device("cpu")


@given(st.integers(1, 200), st.integers(2, 30), st.integers(0, 15), st.sampled_from([4, 8, 16]))
def test_cuts_take_every_pixel_once_from_where_it_is_central(length: int, tile: int, overlap: int, stride: int) -> None:
    """The parts taken follow each other without gap, lie in their tiles, and keep half the overlap from inner edges."""
    length, tile, overlap = length * stride, tile * stride, min(overlap, tile // 2) * stride
    found = cuts(length, tile, overlap, stride)
    assert (found[0].first, found[-1].end) == (0, length)
    assert all(before.end == after.first for before, after in pairwise(found))
    for cut in found:
        assert cut.start % stride == cut.first % stride == 0
        assert cut.first < cut.end
        assert cut.first == 0 or cut.first - cut.start >= overlap // 2 // stride * stride
        assert cut.end == length or cut.start + tile - cut.end >= overlap // 2


def test_stitched_embeddings_are_those_of_the_whole_frame(recipe: Recipe) -> None:
    """With an overlap as wide as the receptive field (99 px, and 8 px more on each side for the aggregation and for the
    alignment) no patch shows that its frame was cut; without an overlap the seams do.
    """
    image = texture(7, (384, 448))
    extractor = load_backbone(recipe.backbone, CPU)
    whole, grid = extractor.embed([image])
    expected = whole[0].view(*grid, -1)
    differences = []
    for overlap in (128, 0):
        tiling = Tiling(tile_px=256, overlap_px=overlap)
        tiled = TiledExtractor(msgspec.structs.replace(recipe, image_size_px=(384, 448), tiling=tiling), extractor)
        bands = list(tiled.bands(image))
        assert tiled.grid == grid == (96, 112)
        assert len(bands) == 2
        differences.append(float((torch.cat(bands).view(*grid, -1) - expected).abs().max() / expected.std()))
    assert differences[0] < 1e-3  # rounding, which differs with the size of what is filtered
    assert differences[1] > 0.1


def test_a_tiled_recipe_is_fitted_and_inspected(recipe: Recipe) -> None:
    """Sides that are no multiple of the stride: the map has the frame's size, and a defect is found across a seam."""
    size_px = (150, 201)
    tiled = msgspec.structs.replace(recipe, image_size_px=size_px, tiling=Tiling(tile_px=96, overlap_px=32))
    images = [(f"good-{seed}", texture(seed, size_px)) for seed in range(10)]
    report = fit(images, tiled, device="cpu")
    assert report.bank.grid == (38, 51)
    inspector = Inspector({"texture": report.bank}, device="cpu")
    defect = texture(50, size_px)
    defect[70:90, 72:92] = 0
    found = inspector.inspect([("texture", defect), ("texture", texture(51, size_px))], maps="all")
    assert found[0].score > found[1].score
    assert found[0].anomaly_map is not None
    assert found[0].anomaly_map.shape == size_px
    peak = np.unravel_index(found[0].anomaly_map.argmax(), size_px)
    assert 62 <= peak[0] < 98
    assert 64 <= peak[1] < 100
    (alone,) = inspector.inspect([("texture", defect)], maps="all")
    assert alone.score == found[0].score
    inspector._batched = True
    batched = inspector.inspect([("texture", defect)])[0].score
    assert batched == pytest.approx(found[0].score, rel=1e-9)  # the same sums in float64, in another order


def test_what_is_held_at_once_is_bounded_by_the_tile(recipe: Recipe) -> None:
    """The backbone never sees more than a tile, and no band has more rows of patches than a tile."""
    size_px = (1024, 128)
    tiled = msgspec.structs.replace(recipe, image_size_px=size_px, tiling=Tiling(tile_px=64, overlap_px=16))
    extractor = load_backbone(recipe.backbone, CPU)
    seen: list[tuple[int, ...]] = []
    embed = extractor.embed

    def watched(images: Sequence[Image], options: PatchOptions = PLAIN) -> tuple[torch.Tensor, tuple[int, int]]:
        seen.append(images[0].shape)
        return embed(images, options)

    extractor.embed = watched  # type: ignore[method-assign] # watches calls
    bands = TiledExtractor(tiled, extractor).bands(texture(1, size_px))
    assert max(len(band) for band in bands) <= 16 * 32
    assert set(seen) == {(64, 64, 3)}


@pytest.mark.parametrize(
    ("tiling", "says"),
    [
        (Tiling(tile_px=16, overlap_px=0), "expected a tile of 32 px or more"),
        (Tiling(tile_px=64, overlap_px=48), "an overlap of at most half"),
        (Tiling(tile_px=100, overlap_px=20), "expected a multiple of 8"),
    ],
)
def test_tiles_that_do_not_fit(recipe: Recipe, tiling: Tiling, says: str) -> None:
    """A tile off the backbone's lattice, too small, or overlapping too much is refused with what would do."""
    tiled = msgspec.structs.replace(recipe, image_size_px=(256, 256), tiling=tiling)
    with pytest.raises(RecipeError, match=says):
        TiledExtractor(tiled, load_backbone(recipe.backbone, CPU))


def test_centring_and_tiles_are_refused_together(recipe: Recipe) -> None:
    """A tile does not know the mean of its frame, and the error says so."""
    both = structs.replace(recipe, centring=True, tiling=Tiling(tile_px=64, overlap_px=16), image_size_px=(128, 128))
    with pytest.raises(RecipeError, match="expected centring or tiling, not both"):
        fit(textures(4), both, device="cpu")


def test_tiles_are_levelled_as_one_frame(recipe: Recipe) -> None:
    """A frame whose halves differ in brightness gives the patches of the levelled frame, not of levelled halves; a
    coarser stride holds on tiles too.
    """
    tiling = Tiling(tile_px=64, overlap_px=16)
    tiled = structs.replace(recipe, levelling=True, tiling=tiling, image_size_px=(64, 128), patch_stride_px=8)
    extractor = load_backbone(recipe.backbone, torch.device("cpu"))
    frame = texture(1, (64, 128))
    frame[:, 64:] //= 2
    found = list(TiledExtractor(tiled, extractor).bands(frame))
    plain = TiledExtractor(structs.replace(tiled, levelling=False), extractor)
    assert plain.grid == (8, 16)
    for band, expected in zip(found, plain.bands(level(frame)), strict=True):
        assert torch.equal(band, expected)
