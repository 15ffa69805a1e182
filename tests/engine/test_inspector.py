"""The inspector: one score a frame, whatever else is in the batch."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import ImageError, RecipeError
from engine.fit import FitReport, fit
from engine.inspection import Verdict
from engine.inspector import Inspector
from engine.recipe import Recipe
from tests.engine.conftest import texture, textures


@pytest.fixture(scope="module")
def inspector(fitted: FitReport, recipe: Recipe) -> Inspector:
    finer = msgspec.structs.replace(recipe, name="finer", coreset_fraction=0.1, seed=5)
    larger = msgspec.structs.replace(recipe, name="larger", image_size_px=(96, 64))
    images = textures(12)
    return Inspector(
        {"texture": fitted.bank, "finer": fit(images, finer).bank, "larger": fit(images, larger).bank}, device="cpu"
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.lists(
        st.tuples(st.sampled_from(["texture", "finer", "larger"]), st.integers(100, 110)), min_size=1, max_size=7
    )
)
def test_a_frame_scores_the_same_alone_and_in_any_batch(inspector: Inspector, batch: list[tuple[str, int]]) -> None:
    """On the CPU every score and map is the same bit for bit, alone and in any batch of mixed recipes, in order."""
    frames = [(recipe, inspector.prepare(recipe, texture(seed))) for recipe, seed in batch]
    for frame, together in zip(frames, inspector.inspect(frames, maps="all"), strict=True):
        (alone,) = inspector.inspect([frame], maps="all")
        assert together.recipe == frame[0]
        assert (alone.score, alone.worst_patch, alone.nearest_row) == (
            together.score,
            together.worst_patch,
            together.nearest_row,
        )
        assert alone.anomaly_map is not None
        assert together.anomaly_map is not None
        assert alone.anomaly_map.tobytes() == together.anomaly_map.tobytes()


def test_recipes_with_one_backbone_share_one_pass(inspector: Inspector) -> None:
    """Two recipes of one backbone and size make a single backbone pass for all their frames."""
    extractor = next(iter(inspector._backbones.values()))
    assert len(inspector._backbones) == 1
    sizes = []
    embed = extractor.embed
    try:
        extractor.embed = lambda images: sizes.append(len(images)) or embed(images)  # type: ignore[method-assign, func-returns-value]
        inspector.inspect([("texture", texture(1)), ("finer", texture(2)), ("texture", texture(3))])
    finally:
        extractor.embed = embed  # type: ignore[method-assign]
    assert sizes == [3]


def test_a_defect_scores_highest_where_it_is(inspector: Inspector) -> None:
    """A black square is rejected, and the worst patch and the map's peak lie on it."""
    image = texture(200)
    image[40:52, 8:20] = 0
    (found,) = inspector.inspect([("texture", image)], maps="rejects")
    assert found.verdict is Verdict.REJECT
    assert found.anomaly_map is not None
    peak = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
    patch_px = 64 / found.grid[0]
    assert 36 <= peak[0] < 56
    assert 4 <= peak[1] < 24
    assert 36 <= (found.worst_patch[0] + 0.5) * patch_px < 56
    assert 4 <= (found.worst_patch[1] + 0.5) * patch_px < 24


def test_reject_means_above_the_threshold(fitted: FitReport) -> None:
    """A score equal to the threshold passes; a threshold just below it rejects; maps come for rejects alone."""
    frame = ("texture", texture(300))
    score = Inspector({"texture": fitted.bank}, device="cpu").inspect([frame])[0].score
    for threshold, verdict in ((score, Verdict.PASS), (np.nextafter(score, 0), Verdict.REJECT)):
        bank = replace(fitted.bank, calibration=replace(fitted.bank.calibration, threshold=float(threshold)))
        (found,) = Inspector({"texture": bank}, device="cpu").inspect([frame], maps="rejects")
        assert found.verdict is verdict
        assert (found.anomaly_map is None) == (verdict is Verdict.PASS)


def test_refusals(inspector: Inspector) -> None:
    """An unknown recipe, an image that was not prepared, and a grey image are refused by name."""
    with pytest.raises(RecipeError, match="'absent' has no memory bank here; loaded: finer, larger, texture"):
        inspector.prepare("absent", texture(1))
    with pytest.raises(ImageError, match="expected a prepared image"):
        inspector.inspect([("texture", texture(1, (80, 80)))])
    with pytest.raises(ImageError, match="expected an RGB uint8 image"):
        inspector.prepare("texture", np.zeros((64, 64), dtype=np.uint8))
    assert inspector.inspect([]) == []
