"""The parts of the first hour's figure that could mislead: the plain reference, planted defects, draws by folds."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import EFFICIENTNET_LITE0, pinned
from patchline.engine.fitting.fit import fit
from patchline.engine.numerics.quantise import quantise
from patchline.ops.demo.defects import Kind
from tests.bench.first_hour_rates import Stored, by_folds, recipe_of
from tests.bench.plain import plain_coresets, plain_scores
from tests.bench.planted import planted
from tests.bench.workload import SIZE_PX, read


def test_the_plain_reference_is_greedy_one_by_one() -> None:
    """Each coreset is what the textbook's loop chooses; a frame scores by its patch that is farthest from its rows."""
    rng = np.random.default_rng(1)
    patches = rng.normal(size=(400, 8)).astype(np.float32)
    for seed, chosen in zip((3, 4), plain_coresets(patches, 20, (3, 4)), strict=True):
        expected = [int(np.random.default_rng(seed).integers(400))]
        while len(expected) < 20:
            apart = np.linalg.norm(patches[:, None].astype(np.float64) - patches[expected], axis=2).min(1)
            expected.append(int(apart.argmax()))
        assert chosen.tolist() == expected
    frames = rng.normal(size=(3, 50, 8)).astype(np.float32)
    rows = patches[chosen]
    apart = np.linalg.norm(frames[:, :, None].astype(np.float64) - rows, axis=3)
    np.testing.assert_allclose(plain_scores(frames, rows), apart.min(2).max(1), rtol=1e-6)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_planted_defect_is_small_and_leaves_the_rest_alone(kind: Kind, tmp_path: Path) -> None:
    """Something changes, in less than a sixth of the image; the same seed plants the same."""
    path = tmp_path / "good.png"
    texture = np.random.default_rng(2).integers(60, 200, (300, 200, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), texture)
    image, again, other = (planted(path, kind, seed) for seed in (5, 5, 6))
    changed = (image != read(path)).any(2)
    assert 0 < changed.mean() < 1 / 6
    assert np.array_equal(image, again)
    assert not np.array_equal(image, other)


def test_draws_take_the_steps_of_a_fit() -> None:
    """Scores and rows from stored embeddings are those of a fit to the images, but for what rounding moves."""
    images = [np.random.default_rng(n).integers(0, 60 + 30 * n, (*SIZE_PX, 3), dtype=np.uint8) for n in range(6)]
    recipe = recipe_of(7)
    report = fit([(str(n), image) for n, image in enumerate(images)], recipe, device="cpu")
    extractor = load_backbone(pinned(EFFICIENTNET_LITE0), torch.device("cpu"))
    good = extractor.embed(images)[0].numpy()
    rows = quantise(good.reshape(-1, good.shape[2]), report.bank.scale).reshape(good.shape)
    stored = Stored(good, good, rows, report.bank.scale, report.bank.grid, extractor)
    scores, set_aside, union = by_folds(stored, np.arange(6), recipe)
    np.testing.assert_allclose(np.sort(scores), report.bank.calibration.scores, rtol=1e-4)
    assert (len(union.rows), set_aside) == (report.rows, report.bank.calibration.set_aside)
