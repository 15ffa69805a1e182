"""Fitting: deterministic in its seed, honest about what it promises, every patch within the covering radius."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shutil import disk_usage

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.memory_bank import FrameOrigin
from patchline.engine.errors import CalibrationError, EngineError, ImageError, RecipeError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.fitting import folds
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.fitting.reading import NamedImage
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.numerics.device import resolve_device
from patchline.engine.numerics.quantise import dequantise, quantise
from patchline.engine.recipe import Recipe
from patchline.engine.search.factory import make_search
from tests.engine.conftest import textures


def test_the_same_seed_gives_the_same_bank(fitted: FitReport, recipe: Recipe) -> None:
    """Fitting twice gives one SHA-256; another seed gives another bank."""
    assert fit(textures(12), recipe, device="cpu").bank.sha256 == fitted.bank.sha256
    other = msgspec.structs.replace(recipe, seed=2)
    assert not np.array_equal(fit(textures(12), other, device="cpu").bank.rows, fitted.bank.rows)


def test_every_patch_lies_within_the_covering_radius(fitted: FitReport, recipe: Recipe) -> None:
    """The stored radius is the largest of the folds' own, so no patch of the fit lies farther from a row."""
    bank, radii = fitted.bank, []
    extractor = load_backbone(recipe.backbone, resolve_device("cpu"))
    assert len(set(bank.calibration_folds)) == bank.folds == 5
    for fold in range(bank.folds):
        own = [image for (_, image), of in zip(textures(12), bank.calibration_folds, strict=True) if of == fold]
        values = extractor.embed(own)[0].numpy().reshape(-1, bank.rows.shape[1])
        stored = dequantise(quantise(values, bank.scale), bank.scale)
        index = make_search("faiss", bank.values()[bank.row_fold == fold])
        radii.append(index.search(stored, 1)[0].max())
        assert make_search("faiss", bank.values()).search(stored, 1)[0].max() <= bank.covering_radius * (1 + 1e-6)
    assert max(radii) == pytest.approx(bank.covering_radius, rel=1e-5)
    assert min(radii) == pytest.approx(bank.fold_radius, rel=1e-5)


def test_a_projection_chooses_rows_and_leaves_the_radius_to_the_original_space(recipe: Recipe) -> None:
    """With a projection other rows are chosen, the radius is theirs among the full embeddings, and is larger."""
    calibration = textures(2, start=50)
    split = msgspec.structs.replace(recipe, false_reject_rate=0.4)
    plain = fit(textures(8), split, calibration=calibration, device="cpu").bank
    chosen = msgspec.structs.replace(split, projection=8)
    projected = fit(textures(8), chosen, calibration=calibration, device="cpu").bank
    assert not np.array_equal(projected.rows, plain.rows)
    extractor = load_backbone(recipe.backbone, resolve_device("cpu"))
    values = extractor.embed([image for _, image in textures(8)])[0].numpy().reshape(-1, projected.rows.shape[1])
    stored = dequantise(quantise(values, projected.scale), projected.scale)
    distances, _ = make_search("faiss", projected.values()).search(stored, 1)
    assert distances.max() == pytest.approx(projected.covering_radius, rel=1e-5)
    assert projected.covering_radius > plain.covering_radius


def test_rows_know_where_they_came_from(fitted: FitReport, recipe: Recipe) -> None:
    """Each row is the embedding of the patch of the frame that its provenance names."""
    images = dict(textures(12))
    extractor = load_backbone(recipe.backbone, resolve_device("cpu"))
    for row in (0, 1, len(fitted.bank.rows) - 1):
        name, patch = fitted.bank.provenance(row)
        embedding = extractor.embed([images[name]])[0][0, patch].numpy()
        assert np.array_equal(quantise(embedding[None], fitted.bank.scale)[0], fitted.bank.rows[row])


def test_every_image_gives_rows_and_carries_the_threshold(fitted: FitReport) -> None:
    """Each fold has its share of the rows, by greedy rank, the folds in turn; all images are calibration frames."""
    bank = fitted.bank
    assert {frame.name for frame in bank.frames} == {name for name, _ in textures(12)}
    assert [name for name, _ in bank.calibration_patches] == [name for name, _ in textures(12)]
    assert fitted.patches == 12 * bank.grid[0] * bank.grid[1]
    sizes = np.bincount(bank.calibration_folds)
    assert sorted(sizes.tolist()) == [2, 2, 2, 3, 3]
    assert np.bincount(bank.row_fold).tolist() == [round(0.05 * size * 256) for size in sizes]
    assert bank.row_fold[:10].tolist() == [0, 1, 2, 3, 4] * 2
    of_frame = dict(zip((name for name, _ in bank.calibration_patches), bank.calibration_folds, strict=True))
    assert {frame.name: frame.fold for frame in bank.frames} == of_frame


def test_an_image_is_scored_by_the_bank_of_the_other_folds(fitted: FitReport, recipe: Recipe) -> None:
    """Each score is the one that an inspector gives with the rows of the other folds alone."""
    bank = fitted.bank
    expected = []
    for (name, image), fold in zip(textures(12), bank.calibration_folds, strict=True):
        others = bank.row_fold != fold
        numbers = np.zeros(int(others.sum()), dtype=np.int32)
        other = replace(
            bank,
            rows=bank.rows[others],
            row_frame=numbers,
            row_patch=numbers,
            frames=(FrameOrigin(name="other folds"),),
            folds=1,
            calibration_folds=(),
        )
        expected.append(Inspector({name: other}, device="cpu").inspect([(name, image)])[0].score)
    assert bank.calibration.scores.tolist() == pytest.approx(sorted(expected), rel=1e-4)
    assert fitted.threshold == bank.calibration.scores[10]  # k = ceil(13 * 0.8)
    inside = Inspector({"texture": bank}, device="cpu").inspect([("texture", image) for _, image in textures(12)])
    assert np.mean([found.score for found in inside]) < bank.calibration.scores.mean()


def test_groups_stay_together_and_weigh_as_one(recipe: Recipe) -> None:
    """Copies of one image lie in one fold, so none is scored by another's rows; there are no more folds than groups."""
    images = [(f"{name}-{copy}", image) for name, image in textures(4) for copy in range(3)]
    report = fit(images, recipe, groups=[n // 3 + 7 for n in range(12)], device="cpu")
    bank = report.bank
    assert bank.folds == 4
    assert [len(set(bank.calibration_folds[3 * n : 3 * n + 3])) for n in range(4)] == [1] * 4
    assert bank.calibration_groups == tuple(n // 3 for n in range(12))
    assert (report.figures.frames, report.figures.groups) == (12, 4)
    assert bank.calibration.group_count == 4
    assert report.threshold == bank.calibration.scores[-1]
    assert "12 held-out good frames in 4 groups" in report.promise
    alone = fit(images, recipe, device="cpu").bank
    assert alone.calibration.scores.mean() < bank.calibration.scores.mean()
    with pytest.raises(EngineError, match="groups: found 3, expected one for each of 12 images"):
        fit(images, recipe, groups=[1, 2, 3], device="cpu")


def test_few_rows_of_few_images_are_made_more(recipe: Recipe) -> None:
    """As many rows as the recipe wants at least, shared by the folds, but no more than half of a fold's patches."""
    report = fit(textures(5), msgspec.structs.replace(recipe, least_rows=500), device="cpu")
    assert np.bincount(report.bank.row_fold).tolist() == [100] * 5
    most = fit(textures(5), msgspec.structs.replace(recipe, least_rows=5000), device="cpu")
    assert np.bincount(most.bank.row_fold).tolist() == [128] * 5


def test_calibration_frames_may_be_given(recipe: Recipe) -> None:
    """They give no rows and carry the threshold, with scores as the inspector gives them; there is one fold."""
    given = textures(4, start=50)
    report = fit(textures(6), recipe, calibration=given, device="cpu")
    bank = report.bank
    assert bank.calibration.frames == 4
    assert report.patches == 6 * bank.grid[0] * bank.grid[1]
    assert (bank.folds, bank.fold_radius, bank.calibration_folds) == (1, None, ())
    assert not {frame.name for frame in bank.frames} & {name for name, _ in given}
    found = Inspector({"texture": bank}, device="cpu").inspect([("texture", image) for _, image in given])
    assert sorted(inspection.score for inspection in found) == bank.calibration.scores.tolist()
    assert "with probability at most 0.2, on average over calibrations" in report.promise
    assert report.figures.proved == 0.2


def test_frames_of_the_fit_are_refused_for_calibration(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their pixels, whatever their names, before a backbone is loaded: their own rows would score them."""
    monkeypatch.setattr("patchline.engine.fitting.fit.load_backbone", None)
    given = [("other.png", textures(6)[2][1]), *textures(3, start=50)]
    says = (
        r"'texture': 1 of 4 images for calibration are in the fit too, by their pixels: other\.png is good-2; expected"
    )
    with pytest.raises(CalibrationError, match=says):
        fit(textures(6), recipe, calibration=given, device="cpu")


@pytest.mark.parametrize(
    ("count", "groups", "says"),
    [
        (0, None, "no good images were given"),
        (1, None, "1 good images, all of one group"),
        (3, [5, 5, 5], "3 good images, all of one group: none can be scored .* expected images of two groups or more"),
    ],
)
def test_what_no_threshold_can_rest_on(
    recipe: Recipe, count: int, groups: list[int] | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One group alone, and nothing at all, are refused before a backbone is loaded."""
    monkeypatch.setattr("patchline.engine.fitting.fit.load_backbone", None)
    with pytest.raises(CalibrationError, match=says):
        fit(textures(count), recipe, groups=groups, device="cpu")
    if not count:
        with pytest.raises(CalibrationError, match="no good images were left"):
            fit([], recipe, calibration=textures(2), device="cpu")
        with pytest.raises(CalibrationError, match="no good frames were held out"):
            fit(textures(2), recipe, calibration=[], device="cpu")


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_rate_out_of_reach_gives_way_to_the_lowest_in_reach(recipe: Recipe, calibrated: bool) -> None:
    """The bank's recipe has the rate taken, the report that which was asked, and one frame decides."""
    asked = msgspec.structs.replace(recipe, false_reject_rate=0.01)
    report = fit(textures(9), asked, calibration=textures(9, start=50) if calibrated else None, device="cpu")
    figures = report.figures
    assert (figures.asked, figures.aimed) == (0.01, 0.1)
    assert report.bank.recipe.false_reject_rate == report.bank.calibration.false_reject_rate == 0.1
    assert figures.one_decides
    assert report.threshold == figures.largest


def test_the_bound_is_proved_where_its_conditions_hold(recipe: Recipe) -> None:
    """Folds of equal size and scores that can only fall as rows join; else it is aimed, not proved, and why is said."""
    several = msgspec.structs.replace(recipe, score_patches=3)
    report = fit(textures(10), several, device="cpu")
    assert report.figures.proved == report.bank.calibration.proved == pytest.approx(0.4 + 1 / 12)
    assert "(proved: at most 0.48)" in report.promise
    for images, of, why in ((11, several, "2 to 3 images"), (10, recipe, "Eq. 7")):
        figures = fit(textures(images), of, device="cpu").figures
        assert figures.proved is None
        assert why in figures.unproved


def test_many_images_are_drawn_from_evenly(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same frames for the same seed, as many of each fold, carry the threshold; their scores are among all."""
    everything = fit(textures(12), recipe, device="cpu").bank
    monkeypatch.setattr(folds, "MOST_CALIBRATED", 10)
    report = fit(textures(12), recipe, device="cpu")
    bank = report.bank
    assert np.bincount(bank.calibration_folds).tolist() == [2] * 5
    assert np.array_equal(bank.rows, everything.rows)
    assert set(bank.calibration.scores) < set(everything.calibration.scores)
    assert fit(textures(12), recipe, device="cpu").bank.sha256 == bank.sha256
    assert report.figures.frames == 10


@pytest.mark.parametrize(
    "change",
    [{"coreset_fraction": 0.0}, {"coreset_fraction": 1.5}, {"neighbours": 0}, {"smoothing_sigma": -1.0},
     {"image_size_px": (8, 64)}, {"false_reject_rate": 1.0}, {"score_patches": 0}, {"patch_stride_px": 0},
     {"row_budget": 0}, {"admission": 0.4}, {"least_rows": -1}, {"unused_days": 0}, {"hold_slips": 1.0}],
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


def test_images_without_a_length_give_the_same_bank(fitted: FitReport, recipe: Recipe) -> None:
    """A generator is read once and fits the bank that a list of the same images fits."""
    assert fit((image for image in textures(12)), recipe, device="cpu").bank.sha256 == fitted.bank.sha256


def test_every_image_is_read_once_and_in_order(recipe: Recipe) -> None:
    """A fit asks for each image a single time, so a slow disk or a camera's archive is read through once."""
    asked: list[str] = []

    class Archive(list[NamedImage]):
        def __iter__(self) -> Iterator[NamedImage]:
            for name, image in super().__iter__():
                asked.append(name)
                yield name, image

    fit(Archive(textures(12)), recipe, device="cpu")
    assert asked == [name for name, _ in textures(12)]


def test_fewer_images_than_announced(recipe: Recipe) -> None:
    """Images that end early, or go on, are an error, since the folds were dealt by the number announced."""

    class Short(list[NamedImage]):
        def __len__(self) -> int:
            return 13

    with pytest.raises(EngineError, match="13 were announced, 12 came"):
        fit(Short(textures(12)), recipe, device="cpu")
    with pytest.raises(EngineError, match="13 were announced, more came"):
        fit(Short(textures(14)), recipe, device="cpu")


def test_temporary_files_are_removed(recipe: Recipe, tmp_path: Path) -> None:
    """Nothing is left in the folder for temporary files, whether the fit succeeds or an image is none."""
    fit(textures(8), recipe, device="cpu", scratch=tmp_path)
    with pytest.raises(ImageError, match="expected an RGB uint8 image"):
        fit([*textures(7), ("grey", np.zeros((64, 64), np.uint8))], recipe, device="cpu", scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_named_before_the_work(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings that will not fit on the disk are refused after the first images, with both sizes."""
    small = disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr("patchline.engine.fitting.stages.shutil.disk_usage", lambda _: small)
    with pytest.raises(EngineError, match=r"need .* GB there, 1e-05 GB are free"):
        fit(textures(40), recipe, device="cpu", scratch=tmp_path)
