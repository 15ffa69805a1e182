"""Fitting: deterministic in its seed, honest about what it promises, every patch within the covering radius."""

import msgspec
import numpy as np
import pytest

from engine.backbone import load_backbone
from engine.device import resolve_device
from engine.errors import CalibrationError, RecipeError
from engine.fit import FitReport, fit, split
from engine.inspector import Inspector
from engine.quantise import dequantise, quantise
from engine.recipe import Recipe
from engine.search import make_search
from tests.engine.conftest import textures


def test_the_same_seed_gives_the_same_bank(fitted: FitReport, recipe: Recipe) -> None:
    """Fitting twice gives one SHA-256; another seed gives another bank."""
    assert fit(textures(12), recipe, device="cpu").bank.sha256 == fitted.bank.sha256
    other = msgspec.structs.replace(recipe, seed=2)
    assert not np.array_equal(fit(textures(12), other, device="cpu").bank.rows, fitted.bank.rows)


def test_every_patch_lies_within_the_covering_radius(fitted: FitReport, recipe: Recipe) -> None:
    """The stored radius is the largest distance from any patch of the fit to its nearest row."""
    kept, _ = split(textures(12), recipe)
    extractor = load_backbone(recipe.backbone, resolve_device("cpu"))
    values = extractor.embed([image for _, image in kept])[0].numpy().reshape(-1, fitted.bank.rows.shape[1])
    stored = dequantise(quantise(values, fitted.bank.scale), fitted.bank.scale)
    distances, _ = make_search("faiss", fitted.bank.values()).search(stored, 1)
    assert distances.max() == pytest.approx(fitted.bank.covering_radius, rel=1e-5)


def test_rows_know_where_they_came_from(fitted: FitReport, recipe: Recipe) -> None:
    """Each row is the embedding of the patch of the frame that its provenance names."""
    images = dict(textures(12))
    extractor = load_backbone(recipe.backbone, resolve_device("cpu"))
    for row in (0, 1, len(fitted.bank.rows) - 1):
        name, patch = fitted.bank.provenance(row)
        embedding = extractor.embed([images[name]])[0][0, patch].numpy()
        assert np.array_equal(quantise(embedding[None], fitted.bank.scale)[0], fitted.bank.rows[row])


def test_held_out_frames_give_no_rows(fitted: FitReport, recipe: Recipe) -> None:
    """Calibration frames are not in the bank, and their scores are those that the inspector gives them."""
    kept, held_out = split(textures(12), recipe)
    assert {frame.name for frame in fitted.bank.frames} <= {name for name, _ in kept}
    assert not {name for name, _ in kept} & {name for name, _ in held_out}
    inspector = Inspector({"texture": fitted.bank}, device="cpu")
    scores = sorted(found.score for found in inspector.inspect([("texture", image) for _, image in held_out]))
    assert scores == fitted.bank.calibration.scores.tolist()
    assert fitted.threshold in scores


def test_calibration_frames_may_be_given(recipe: Recipe) -> None:
    """Given calibration images, all the others are fitted."""
    report = fit(textures(6), recipe, calibration=textures(4, start=50), device="cpu")
    assert report.bank.calibration.frames == 4
    assert report.patches == 6 * report.bank.grid[0] * report.bank.grid[1]


@pytest.mark.parametrize(
    ("count", "rate", "says"),
    [
        (12, 0.01, r"at most 6 of 12 .* 0.01 cannot be promised with 6 .* 0.1429 or more, and 0.01 needs 99"),
        (1, 0.2, "no good frames were held out"),
        (0, 0.2, "no good frames"),
    ],
)
def test_a_rate_that_cannot_be_promised(recipe: Recipe, count: int, rate: float, says: str) -> None:
    """A false-reject rate below 1 / (n + 1) is refused, and the rate that can be promised is named."""
    with pytest.raises(CalibrationError, match=says):
        fit(textures(count), msgspec.structs.replace(recipe, false_reject_rate=rate), device="cpu")


@pytest.mark.parametrize(
    "change",
    [{"coreset_fraction": 0.0}, {"coreset_fraction": 1.5}, {"neighbours": 0}, {"smoothing_sigma": -1.0},
     {"image_size_px": (8, 64)}, {"false_reject_rate": 1.0}],
)  # fmt: skip
def test_impossible_recipes(recipe: Recipe, change: dict[str, float]) -> None:
    """A recipe out of range is refused with the field, what was found and what was expected."""
    (field,) = change
    with pytest.raises(RecipeError, match=f"'texture': {field} is .* expected"):
        fit(textures(4), msgspec.structs.replace(recipe, **change), device="cpu")


def test_progress_reaches_the_end_of_every_stage(recipe: Recipe) -> None:
    """Each stage reports up to its total."""
    last: dict[str, tuple[int, int]] = {}
    fit(textures(8), recipe, device="cpu", progress=lambda stage, done, total: last.update({stage: (done, total)}))
    assert set(last) == {"read", "embed", "coreset", "calibrate"}
    assert all(done == total for done, total in last.values())
