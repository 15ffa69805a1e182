"""Fitting: deterministic in its seed, honest about what it promises, every patch within the covering radius."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import disk_usage

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.calibration import draw_held_out
from patchline.engine.errors import CalibrationError, EngineError, ImageError, RecipeError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.fitting.stages import NamedImage
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.numerics.device import resolve_device
from patchline.engine.numerics.quantise import dequantise, quantise
from patchline.engine.recipe import Recipe
from patchline.engine.search.factory import make_search
from tests.engine.conftest import textures


def separate(images: Sequence[NamedImage], recipe: Recipe) -> tuple[list[NamedImage], list[NamedImage]]:
    """The images that a fit puts into the bank, and those that it holds out."""
    drawn, _ = draw_held_out(range(len(images)), recipe)
    return (
        [image for position, image in enumerate(images) if position not in drawn],
        [image for position, image in enumerate(images) if position in drawn],
    )


def test_the_same_seed_gives_the_same_bank(fitted: FitReport, recipe: Recipe) -> None:
    """Fitting twice gives one SHA-256; another seed gives another bank."""
    assert fit(textures(12), recipe, device="cpu").bank.sha256 == fitted.bank.sha256
    other = msgspec.structs.replace(recipe, seed=2)
    assert not np.array_equal(fit(textures(12), other, device="cpu").bank.rows, fitted.bank.rows)


def test_copies_of_a_held_out_image_are_not_learned(recipe: Recipe) -> None:
    """Each image twice: one of a group is held out, and no row is of these groups."""
    twice = [image for image in textures(12) for _ in range(2)]
    groups = [position // 2 for position in range(24)]
    report = fit(twice, recipe, groups=groups, device="cpu")
    drawn, aside = draw_held_out(groups, recipe)
    assert len(drawn) == len(aside) == report.bank.calibration.frames
    left = {twice[position][0] for position in range(24) if position not in drawn | aside}
    assert {origin.name for origin in report.bank.frames} <= left
    assert report.patches == 2 * len(left) * report.bank.grid[0] * report.bank.grid[1]
    with pytest.raises(EngineError, match="groups: found 3, expected one for each of 24 images"):
        fit(twice, recipe, groups=[0, 1, 2], device="cpu")


def test_every_patch_lies_within_the_covering_radius(fitted: FitReport, recipe: Recipe) -> None:
    """The stored radius is the largest distance from any patch of the fit to its nearest row."""
    kept, _ = separate(textures(12), recipe)
    extractor = load_backbone(recipe.backbone, resolve_device("cpu"))
    values = extractor.embed([image for _, image in kept])[0].numpy().reshape(-1, fitted.bank.rows.shape[1])
    stored = dequantise(quantise(values, fitted.bank.scale), fitted.bank.scale)
    distances, _ = make_search("faiss", fitted.bank.values()).search(stored, 1)
    assert distances.max() == pytest.approx(fitted.bank.covering_radius, rel=1e-5)


def test_a_projection_chooses_rows_and_leaves_the_radius_to_the_original_space(
    fitted: FitReport, recipe: Recipe
) -> None:
    """With a projection other rows are chosen, the radius is theirs among the full embeddings, and is larger."""
    projected = fit(textures(12), msgspec.structs.replace(recipe, projection=8), device="cpu").bank
    assert not np.array_equal(projected.rows, fitted.bank.rows)
    kept, _ = separate(textures(12), recipe)
    extractor = load_backbone(recipe.backbone, resolve_device("cpu"))
    values = extractor.embed([image for _, image in kept])[0].numpy().reshape(-1, projected.rows.shape[1])
    stored = dequantise(quantise(values, projected.scale), projected.scale)
    distances, _ = make_search("faiss", projected.values()).search(stored, 1)
    assert distances.max() == pytest.approx(projected.covering_radius, rel=1e-5)
    assert projected.covering_radius > fitted.bank.covering_radius


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
    kept, held_out = separate(textures(12), recipe)
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
     {"image_size_px": (8, 64)}, {"false_reject_rate": 1.0}, {"score_patches": 0}, {"patch_stride_px": 0},
     {"row_budget": 0}, {"admission": 0.4}, {"unused_days": 0}, {"hold_slips": 1.0}],
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
    """Images that end early are an error, since the held-out ones were drawn from the number announced."""

    class Short(list[NamedImage]):
        def __len__(self) -> int:
            return 13

    with pytest.raises(EngineError, match="13 were announced, 12 came"):
        fit(Short(textures(12)), recipe, device="cpu")


def test_temporary_files_are_removed(recipe: Recipe, tmp_path: Path) -> None:
    """Nothing is left in the folder for temporary files, whether the fit succeeds or an image is none."""
    fit(textures(8), recipe, device="cpu", scratch=tmp_path)
    with pytest.raises(ImageError, match="expected an RGB uint8 image"):
        fit([*textures(7), ("grey", np.zeros((64, 64), np.uint8))], recipe, device="cpu", scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_named_before_the_work(recipe: Recipe, tmp_path: Path) -> None:
    """Embeddings that will not fit on the disk are refused after the first images, with both sizes."""

    class Endless(list[NamedImage]):
        def __len__(self) -> int:
            return disk_usage(tmp_path).free // (64 * 64)

    with pytest.raises(EngineError, match=r"need .* GB there, .* GB are free"):
        fit(Endless(textures(40)), recipe, device="cpu", scratch=tmp_path)
