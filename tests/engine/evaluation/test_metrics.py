"""Figures of whole frames against their definitions, written out by brute force."""

import json
from dataclasses import asdict
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from patchline.engine.errors import EvaluationError
from patchline.engine.evaluation.metrics import evaluate, f1_max, image_auroc, roc
from patchline.engine.evaluation.pixel_metrics import PixelTally

SIZE = (40, 48)


def brute_auroc(scores: NDArray[np.float64], defective: NDArray[np.bool_]) -> float:
    pairs = [(d > g) + 0.5 * (d == g) for d, g in product(scores[defective], scores[~defective])]
    return float(np.mean(pairs))


@pytest.mark.parametrize("seed", range(3))
def test_image_auroc_is_the_chance_of_the_right_order(seed: int) -> None:
    """Image AUROC is the share of (defective, good) pairs in the right order, ties counting half."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=60), 1)
    defective = rng.random(60) < 0.4
    assert image_auroc(scores, defective) == pytest.approx(brute_auroc(scores, defective), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_f1_max_is_the_best_over_all_thresholds_and_its_threshold_gives_it(seed: int) -> None:
    """F1-max is the best F1 of `score > threshold` over every threshold, and the threshold returned attains it."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=40) + 0.3 * seed, 1)
    defective = rng.random(40) < 0.5

    def f1(threshold: float) -> float:
        rejected = scores > threshold
        return float(2 * np.sum(rejected & defective) / (rejected.sum() + defective.sum()))

    found = f1_max(scores, defective)
    assert found.f1 == pytest.approx(max(f1(t) for t in [-np.inf, *scores]), abs=1e-12)
    assert f1(found.threshold) == pytest.approx(found.f1, abs=1e-12)


def test_f1_max_rejects_everything_where_that_is_best() -> None:
    """Where rejecting every frame is best, the threshold lies below the lowest score."""
    scores = np.array([3.0, 1.0, 2.0])
    found = f1_max(scores, np.array([False, True, True]))
    assert found.f1 == pytest.approx(0.8)
    assert found.threshold < 1.0


def test_evaluate_counts_false_rejects_and_escapes_by_type() -> None:
    """A frame is rejected where its score lies above the threshold, not on it; escapes are counted by type."""
    scores = [0.1, 0.5, 0.9, 0.5, 0.6, 0.7, 0.2]
    kinds = ["good", "good", "good", "crack", "crack", "stain", "stain"]
    found = evaluate(scores, kinds, threshold=0.5)
    assert (found.good_frames, found.defective_frames) == (3, 4)
    assert (found.false_rejects, found.escapes) == (1, 2)
    assert found.false_reject_rate == pytest.approx(1 / 3)
    assert found.escape_rate == pytest.approx(0.5)
    assert found.by_defect["crack"].escapes == 1
    assert found.by_defect["stain"].escape_rate == pytest.approx(0.5)
    assert found.by_defect["crack"].image_auroc == pytest.approx(brute_auroc(
        np.array([0.1, 0.5, 0.9, 0.5, 0.6]), np.array([False, False, False, True, True])
    ))  # fmt: skip
    assert found.pixel_auroc is None
    assert "masks" in found.undefined["pixel_auroc"]
    assert json.loads(json.dumps(asdict(found)))["by_defect"]["stain"]["frames"] == 2


@pytest.mark.parametrize(("kinds", "word"), [(["good", "good"], "defective"), (["crack", "crack"], "good")])
def test_a_missing_class_leaves_figures_out_with_the_reason(kinds: list[str], word: str) -> None:
    """With one class missing, the figures that need both are None and say which class is missing."""
    found = evaluate([1.0, 2.0], kinds, threshold=1.5)
    assert found.image_auroc is None
    assert found.f1_max is None
    assert f"no frame is {word}" in found.undefined["image_auroc"]
    assert (found.false_reject_rate is None) == (kinds[0] == "crack")
    assert (found.escape_rate is None) == (kinds[0] == "good")


def test_pixel_figures_without_masks_say_so() -> None:
    """A tally in which no pixel is defective gives no pixel figures, with the reason."""
    tally = PixelTally()
    tally.add("good", np.ones(SIZE, dtype=np.float32), None)
    found = evaluate([1.0, 2.0], ["good", "crack"], pixels=tally)
    assert found.aupro is None
    assert "ground-truth masks" in found.undefined["aupro"]
    assert found.image_auroc == 1.0


def test_unusable_input_is_refused() -> None:
    """Scores that are not finite, lengths that differ and no frames are refused."""
    with pytest.raises(EvaluationError, match="finite"):
        evaluate([1.0, float("nan")], ["good", "crack"])
    with pytest.raises(EvaluationError, match="2 scores for 1 kinds"):
        evaluate([1.0, 2.0], ["good"])
    with pytest.raises(EvaluationError, match="one frame or more"):
        evaluate([], [])


def test_roc_starts_at_nothing_rejected_and_ends_at_everything() -> None:
    """The ROC curve runs from (0, 0) to (1, 1), thresholds descending."""
    curve = roc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    assert (curve.false_reject_rate[0], curve.detection_rate[0]) == (0, 0)
    assert (curve.false_reject_rate[-1], curve.detection_rate[-1]) == (1, 1)
    assert np.all(np.diff(curve.thresholds) < 0)
