"""Patch embeddings, and what a recipe may ask of them: a frame is embedded alike on every path."""

import numpy as np
import pytest
import torch
from msgspec import structs

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.coreset.online_state import begin
from patchline.engine.features.patches import PatchOptions, embed
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.numerics.integer_distances import sq_to_nearest
from patchline.engine.recipe import Recipe
from tests.engine.conftest import texture, textures

SIZE_PX = (32, 32)


def test_patches_are_averages_aligned_to_the_finest_grid() -> None:
    """A patch is the mean of its 3x3 neighbourhood with zeros outside; a constant coarse map stays constant inside."""
    fine = torch.rand(2, 3, 8, 6)
    coarse = torch.full((2, 1, 4, 3), 5.0)
    embeddings, grid = embed([fine, coarse], (64, 48))
    assert grid == (8, 6)
    assert embeddings.shape == (2, 48, 4)
    inside = embeddings[1, 2 * 6 + 3]
    torch.testing.assert_close(inside[:3], fine[1, :, 1:4, 2:5].mean((1, 2)))
    corner = embeddings[0, 0]
    torch.testing.assert_close(corner[:3], fine[0, :, :2, :2].sum((1, 2)) / 9)


def test_an_offset_of_a_feature_map_leaves_no_trace() -> None:
    """Embeddings of maps with a constant added to each channel are the same; plain ones are not."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 8, 8, generator=generator), torch.randn(2, 5, 4, 4, generator=generator)]
    lit = [m + torch.randn(2, m.shape[1], 1, 1, generator=generator) for m in maps]
    centred = PatchOptions(centring=True)
    assert torch.allclose(embed(maps, SIZE_PX, centred)[0], embed(lit, SIZE_PX, centred)[0], atol=1e-5)
    assert not torch.allclose(embed(maps, SIZE_PX)[0], embed(lit, SIZE_PX)[0], atol=0.1)


def test_centring_takes_the_mean_of_each_channel_and_nothing_else() -> None:
    """The embedding of centred maps is the plain one of maps without their means."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 3, 8, 8, generator=generator), torch.randn(1, 5, 4, 4, generator=generator)]
    centred = [m - m.mean((2, 3), keepdim=True) for m in maps]
    assert torch.equal(embed(maps, SIZE_PX, PatchOptions(centring=True))[0], embed(centred, SIZE_PX)[0])


def test_a_coarser_stride_averages_finer_stages_over_area() -> None:
    """At 8 px a map of stride 4 is averaged over 2x2 of its patches, one of stride 8 stays as it is."""
    generator = torch.Generator().manual_seed(0)
    fine, coarse = torch.randn(1, 3, 8, 8, generator=generator), torch.randn(1, 5, 4, 4, generator=generator)
    joined, grid = embed([fine, coarse], SIZE_PX, PatchOptions(stride_px=8))
    plain_fine, plain_coarse = embed([fine], SIZE_PX)[0], embed([coarse], SIZE_PX)[0]
    assert grid == (4, 4)
    halves = plain_fine.view(4, 2, 4, 2, 3).mean((1, 3)).reshape(1, 16, 3)
    torch.testing.assert_close(joined[..., :3], halves)
    assert torch.equal(joined[..., 3:], plain_coarse)


@pytest.fixture(scope="module")
def levelled(recipe: Recipe) -> MemoryBank:
    chosen = structs.replace(recipe, levelling=True, centring=True, patch_stride_px=8, score_patches=3)
    return fit(textures(12), chosen, device="cpu").bank


def test_a_levelled_recipe_scores_a_darker_frame_alike(levelled: MemoryBank, fitted: FitReport) -> None:
    """Half the light hardly moves the score of a levelled recipe; it moves a plain one's far."""
    frame = (texture(50) * 0.9).astype(np.uint8)
    darker = np.rint(frame * 0.5).astype(np.uint8)
    moved = {}
    for name, bank in (("levelled", levelled), ("plain", fitted.bank)):
        inspector = Inspector({name: bank}, device="cpu")
        scores = [found.score for found in inspector.inspect([(name, frame), (name, darker)])]
        moved[name] = abs(scores[1] / scores[0] - 1)
    assert moved["levelled"] < 0.1 < moved["plain"]


def test_a_frame_scores_the_same_alone_in_a_batch_and_by_its_stored_embeddings(
    levelled: MemoryBank, fitted: FitReport
) -> None:
    """Levelling, centring, stride and the mean of the farthest patches are those of every path, beside other recipes
    of the same backbone.
    """
    inspector = Inspector({"lit": levelled, "plain": fitted.bank}, device="cpu")
    frames = [("lit" if seed % 3 else "plain", texture(60 + seed)) for seed in range(5)]
    alone = [inspector.inspect([frame])[0].score for frame in frames]
    assert [found.score for found in inspector.inspect(frames)] == alone
    assert levelled.grid == (8, 8)
    patches = inspector.embed("lit", frames[1][1])
    state = begin(levelled.rows, levelled.row_frame, levelled.row_patch, ("fit",), sq_covering=1, budget=10**6)
    stored = ReferenceFrames(state).with_frame("f", "reject", patches).scores(levelled.scale, 9, score_patches=3)
    assert stored[0] == pytest.approx(alone[1], rel=1e-3)
    distances = np.sort(np.sqrt(sq_to_nearest(patches, levelled.rows)[0]))[-3:] * levelled.scale
    assert stored[0] == pytest.approx(distances.mean(), rel=1e-6)


def test_device_batches_honour_the_options(levelled: MemoryBank) -> None:
    """Frames judged together as on a device score as on the CPU."""
    inspector = Inspector({"lit": levelled}, device="cpu")
    frames = [("lit", texture(70 + seed)) for seed in range(3)]
    scores = [found.score for found in inspector.inspect(frames)]
    inspector._batched = True
    assert [found.score for found in inspector.inspect(frames)] == pytest.approx(scores, rel=1e-4)
