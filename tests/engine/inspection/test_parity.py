"""The engine against a plain float64 implementation of the paper, on the same features of real parts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray

from patchline.engine.evaluation.metrics import image_auroc
from patchline.engine.features.preprocess import prepare
from patchline.engine.features.weight_files import locate
from patchline.engine.features.weights import fit_names, preset, read_weights
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.recipe import Recipe
from patchline.engine.types import Image, Inspection
from tests.engine import plain_patchcore as plain

SIZE_PX = (224, 224)
GRID = (28, 28)
FITTED, CALIBRATION, GOOD, DEFECTIVE = 24, 10, 20, 20
NEIGHBOURS = 9


@dataclass(frozen=True)
class Case:
    """A product's images: (name, image) to fit and calibrate, and test images with what they are."""

    fitted: list[tuple[str, Image]]
    calibration: list[tuple[str, Image]]
    tested: list[tuple[str, Image]]
    defective: NDArray[np.bool_]


@dataclass(frozen=True)
class Both:
    """A product judged by both sides, and the two banks: rows as embeddings and as patches of the fit."""

    case: Case
    report: FitReport
    ours: list[Inspection]
    plain: list[plain.PlainInspection]
    plain_rows: list[int]
    plain_radius: float


@pytest.fixture(scope="module", params=["magnetic_tile", "mvtec_bottle"])
def both(request: pytest.FixtureRequest, data_dir: Path) -> Both:
    """One product through the whole engine and through the plain implementation, each from pixels to maps."""
    case = _case(data_dir / request.param)
    recipe = Recipe(
        name=request.param,
        backbone=preset("efficientnet_lite0"),
        image_size_px=SIZE_PX,
        coreset_fraction=0.01,
        least_rows=0,
        false_reject_rate=0.1,
        neighbours=NEIGHBOURS,
    )
    report = fit(case.fitted, recipe, calibration=case.calibration, device="cpu")
    inspector = Inspector({recipe.name: report.bank}, device="cpu")
    ours = [inspector.inspect([(recipe.name, image)], maps="all")[0] for _, image in case.tested]

    feature_maps = _feature_maps(recipe)
    vectors = np.concatenate([plain.embed(feature_maps(image)) for _, image in case.fitted])
    # The bank holds multiples of its scale; which of two equally far patches is taken hangs on that rounding.
    vectors = np.rint(vectors / report.bank.scale) * report.bank.scale
    rows, radius = plain.greedy_coreset(vectors, report.rows, first=_patch_of_row(report, case, 0))
    bank = vectors[rows]
    judged = [
        plain.inspect(bank, plain.embed(feature_maps(image)), GRID, SIZE_PX, NEIGHBOURS, sigma=4.0)
        for _, image in case.tested
    ]
    return Both(case=case, report=report, ours=ours, plain=judged, plain_rows=rows, plain_radius=radius)


def test_image_auroc_is_that_of_the_paper(both: Both) -> None:
    """Image AUROC differs from the plain implementation's by at most 0.005."""
    ours = image_auroc(np.array([i.score for i in both.ours]), both.case.defective)
    theirs = image_auroc(np.array([i.score for i in both.plain]), both.case.defective)
    assert ours == pytest.approx(theirs, abs=0.005)


def test_anomaly_maps_are_those_of_the_paper(both: Both) -> None:
    """Every pixel of every map lies within 1e-3, relative, of the plain implementation's."""
    for ours, theirs in zip(both.ours, both.plain, strict=True):
        assert ours.anomaly_map is not None
        np.testing.assert_allclose(ours.anomaly_map, theirs.anomaly_map, rtol=1e-3)


def test_scores_worst_patches_and_rows_are_those_of_the_paper(both: Both) -> None:
    """Scores agree to 1e-3 relative, and nearly all frames name the same worst patch."""
    np.testing.assert_allclose([i.score for i in both.ours], [i.score for i in both.plain], rtol=1e-3)
    same = [o.worst_patch == divmod(p.worst_patch, GRID[1]) for o, p in zip(both.ours, both.plain, strict=True)]
    assert np.mean(same) >= 0.95


def test_the_bank_is_the_greedy_coreset_of_the_paper(both: Both) -> None:
    """The bank holds the patches that plain greedy takes, and states the radius that they cover."""
    ours = {_patch_of_row(both.report, both.case, row) for row in range(both.report.rows)}
    assert len(ours & set(both.plain_rows)) >= 0.98 * len(ours)
    assert both.report.radius == pytest.approx(both.plain_radius, rel=1e-3)


def _patch_of_row(report: FitReport, case: Case, row: int) -> int:
    """Which patch of all patches of the fit a row of the bank is."""
    frame, patch = report.bank.provenance(row)
    return [name for name, _ in case.fitted].index(frame) * GRID[0] * GRID[1] + patch


def _feature_maps(recipe: Recipe) -> Callable[[Image], list[NDArray[np.float32]]]:
    """Feature maps (C_i, h_i, w_i) by timm itself: no folding, nothing of the engine's but the reading of weights."""
    spec = recipe.backbone
    network = timm.create_model(spec.name, features_only=True, out_indices=[int(s) for s in spec.stages]).eval()
    path = locate(spec)
    whole = timm.create_model(spec.name)
    read = read_weights(path, spec.weights_sha256, path.stat().st_size)
    whole.load_state_dict(fit_names(read, whole.state_dict(), str(path)))
    network.load_state_dict({name: whole.state_dict()[name] for name in network.state_dict()})

    @torch.inference_mode()
    def of(image: Image) -> list[NDArray[np.float32]]:
        pixels = (image.astype(np.float32) - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
        return [m[0].numpy() for m in network(torch.from_numpy(pixels).permute(2, 0, 1)[None])]

    return of


def _case(folder: Path) -> Case:
    good = sorted((folder / "train" / "good").iterdir())
    step = len(good) // (FITTED + CALIBRATION)
    good = good[::step][: FITTED + CALIBRATION]
    defects = sorted(path for kind in (folder / "test").iterdir() if kind.name != "good" for path in kind.iterdir())
    tested = [
        *_spread(sorted((folder / "test" / "good").iterdir()), GOOD),
        *_spread(defects, DEFECTIVE),
    ]
    return Case(
        fitted=[_read(path) for path in good[:FITTED]],
        calibration=[_read(path) for path in good[FITTED:]],
        tested=[_read(path) for path in tested],
        defective=np.array([path.parent.name != "good" for path in tested]),
    )


def _spread(paths: list[Path], count: int) -> list[Path]:
    return paths[:: max(1, len(paths) // count)][:count]


def _read(path: Path) -> tuple[str, Image]:
    read = cv2.imread(str(path))
    assert read is not None, path
    image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
    return path.name, prepare(np.asarray(image, dtype=np.uint8), SIZE_PX)
