"""A precision below float32: observed and measured by the fit, carried by the bank, honoured by whoever judges."""

from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from patchline.engine.bank.events import StoredFrame
from patchline.engine.bank.store import GenerationStore, load_bank, save_bank
from patchline.engine.errors import DeviceError, PrecisionError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.fitting import precision as measuring
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.fitting.precision import compare, spread_evenly
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.numerics.quantise import quantise
from patchline.engine.recipe import Recipe, Tiling
from patchline.engine.types import Rows
from tests.engine.conftest import texture, textures
from tests.engine.features.quantisation.observing import CPU, in_int8


@pytest.fixture(scope="module")
def int8_recipe(recipe: Recipe) -> Recipe:
    backbone = structs.replace(recipe.backbone, precision="int8")
    return structs.replace(recipe, backbone=backbone, false_reject_rate=0.05)


@pytest.fixture(scope="module")
def int8_fit(int8_recipe: Recipe) -> FitReport:
    return fit(textures(40), int8_recipe, device="cpu")


def test_ranges_are_those_of_the_images_of_the_fit(int8_fit: FitReport, recipe: Recipe) -> None:
    """Of all images up to 32, spread evenly: the bank states what they show, and nothing else."""
    kept = textures(40)
    looked_at = [image for position, (_, image) in enumerate(kept) if position in spread_evenly(range(len(kept)))]
    assert len(looked_at) == 32
    assert int8_fit.bank.recipe.backbone == in_int8(recipe.backbone, images=looked_at)


def test_the_same_images_give_the_same_bank(int8_fit: FitReport, int8_recipe: Recipe) -> None:
    """Observing and measuring leave no trace of chance; the bank is not that of float32."""
    assert fit(textures(40), int8_recipe, device="cpu").bank.sha256 == int8_fit.bank.sha256


def test_a_bank_judges_the_same_before_and_after_it_was_saved(int8_fit: FitReport, tmp_path: Path) -> None:
    """Precision and ranges travel with it: scores agree bit for bit, alone and in batches."""
    save_bank(int8_fit.bank, tmp_path)
    loaded = load_bank(tmp_path)
    assert loaded.sha256 == int8_fit.bank.sha256
    assert loaded.recipe.backbone.precision == "int8"
    frames = [("texture", texture(seed)) for seed in range(100, 105)]
    before = Inspector({"texture": int8_fit.bank}, device="cpu").inspect(frames)
    after = Inspector({"texture": loaded}, device="cpu")
    assert [found.score for found in after.inspect(frames)] == [found.score for found in before]
    assert [after.inspect([frame])[0].score for frame in frames] == [found.score for found in before]


def test_what_is_learned_is_embedded_in_the_same_precision(int8_fit: FitReport) -> None:
    """Patches of a confirmed frame are those of the int8 backbone, so they may join its rows."""
    bank = int8_fit.bank
    image = texture(200)
    values = load_backbone(bank.recipe.backbone, CPU).embed([image])[0][0].numpy()
    learned = Inspector({"texture": bank}, device="cpu").embed("texture", image)
    assert np.array_equal(learned, quantise(values, bank.scale))


def test_another_precision_is_refused_when_it_judges(int8_fit: FitReport) -> None:
    """The threshold rests on int8: whoever asks for float32 is told so, in place of other scores."""
    with pytest.raises(DeviceError, match="in int8: the threshold rests on int8"):
        Inspector({"texture": int8_fit.bank}, device="cpu", precision="float32")


def test_the_fit_says_what_it_measured(int8_fit: FitReport, fitted: FitReport) -> None:
    """Against a float32 bank of the same patches: how far a score moves, how many verdicts change, of how many."""
    assert fitted.precision is None
    check = int8_fit.precision
    assert check is not None
    assert check.holds
    assert 0 < check.moved <= measuring.MOST_MOVED
    assert check.frames == int8_fit.bank.calibration.frames
    assert str(check).startswith("int8: beside float32 the score of a held-out good frame moves by at most 0.")


def test_beyond_the_margin_nothing_is_fitted(
    int8_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fit is refused with both figures, and the store and the folder for temporary files stay empty."""
    monkeypatch.setattr(measuring, "MOST_MOVED", 0.0)
    store = GenerationStore(str(tmp_path / "bank"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(
        PrecisionError, match=r"'texture': int8: .* moves by at most 0\.\d+ .* \(allowed: 0\); .*float32$"
    ):
        fit(textures(40), int8_recipe, device="cpu", keep=store.keep, scratch=scratch)
    assert list(scratch.iterdir()) == []
    assert not [path for path in (tmp_path / "bank").rglob("*") if path.is_file()]


def test_what_holds_is_kept_as_in_float32(int8_recipe: Recipe, tmp_path: Path) -> None:
    """A store has the calibration frames of a precision that holds, in order, as a bank in memory has them."""
    kept: dict[str, Rows] = {}
    store = GenerationStore(str(tmp_path))

    def keep(name: str, patches: Rows) -> StoredFrame:
        kept[name] = patches.copy()
        return store.keep(name, patches)

    report = fit(textures(40), int8_recipe, device="cpu", keep=keep)
    waiting = dict(fit(textures(40), int8_recipe, device="cpu").bank.calibration_patches)
    assert list(kept) == list(waiting)
    assert all(np.array_equal(kept[name], waiting[name]) for name in kept)
    assert [stored.name for stored in report.calibration] == list(kept)


def test_tiles_are_observed_as_they_are_embedded(int8_recipe: Recipe) -> None:
    """A tiled recipe's ranges are those of its tiles, levelled before they are cut."""
    tiled = structs.replace(
        int8_recipe,
        image_size_px=(64, 96),
        tiling=Tiling(tile_px=64, overlap_px=16),
        levelling=True,
        score_patches=5,
        coreset_fraction=0.02,
    )
    bank = fit([(f"good-{n}", texture(n, (64, 96))) for n in range(24)], tiled, device="cpu").bank
    assert bank.recipe.backbone.ranges
    frame = ("texture", texture(50, (64, 96)))
    assert Inspector({"texture": bank}, device="cpu").inspect([frame])[0].score > 0


def test_scores_are_compared_between_their_median_and_the_threshold(int8_recipe: Recipe) -> None:
    """A bank whose scores are twice as large judges alike; what moves is a place among its own scores."""
    int8_recipe = structs.replace(int8_recipe, false_reject_rate=0.2)
    float32 = np.array([1.0, 2.0, 3.0, 4.0, 5.0])  # at rate 0.2 the threshold is the largest but one of 6, here 5
    same = compare(int8_recipe, 2 * float32, float32)
    assert (same.moved, same.changed, same.frames, same.speed) == (0.0, 0, 5, 1.0)
    moved = compare(int8_recipe, np.array([1.0, 2.0, 3.0, 4.5, 5.0]), float32)
    assert moved.moved == pytest.approx(0.25)  # of the 2 from the median 3 to the threshold 5
    assert moved.changed == 0
    swapped = compare(structs.replace(int8_recipe, false_reject_rate=0.4), np.array([1.0, 2.0, 3.0, 5.0, 4.0]), float32)
    assert swapped.changed == 2  # one more, and one fewer
    assert not swapped.holds


def test_scores_that_are_all_one_hold_nothing(int8_recipe: Recipe) -> None:
    """Without a distance to the threshold nothing can be compared with it."""
    int8_recipe = structs.replace(int8_recipe, false_reject_rate=0.2)
    assert not compare(int8_recipe, np.ones(5), np.arange(5.0)).holds
    assert not compare(int8_recipe, np.arange(5.0), np.ones(5)).holds


def test_images_are_spread_over_those_that_there_are() -> None:
    """The first and the last are among them, and where there are few, all."""
    assert spread_evenly(range(5, 10)) == {5, 6, 7, 8, 9}
    chosen = sorted(spread_evenly(range(1000)))
    assert (len(chosen), chosen[0], chosen[-1]) == (32, 0, 999)
    assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1
