"""Evaluation figures against their definitions, written out by brute force."""

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


def flood(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Connected regions, corners touching, by plain flood fill."""
    left = {(int(r), int(c)) for r, c in np.argwhere(mask)}
    regions = []
    while left:
        frontier = [left.pop()]
        region = np.zeros_like(mask)
        while frontier:
            row, column = frontier.pop()
            region[row, column] = True
            near = {(row + a, column + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= near
            frontier += near
        regions.append(region)
    return regions


def brute_aupro(maps: list[NDArray[np.float32]], masks: list[NDArray[np.bool_]], limit: float) -> float:
    """Every score is a threshold; regions are looked at one by one; the area is summed trapezoid by trapezoid."""
    thresholds = np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]
    normal = np.sort(np.concatenate([m[~mask] for m, mask in zip(maps, masks, strict=True)]))
    regions = [np.sort(m[r]) for m, mask in zip(maps, masks, strict=True) for r in flood(mask)]
    x = [0.0, *(1 - np.searchsorted(normal, thresholds) / len(normal))]
    y = [0.0, *np.mean([1 - np.searchsorted(region, thresholds) / len(region) for region in regions], axis=0)]
    area = 0.0
    for i in range(1, len(x)):
        if x[i] <= limit:
            area += (x[i] - x[i - 1]) * (y[i] + y[i - 1]) / 2
        elif x[i - 1] < limit:
            at_limit = y[i - 1] + (limit - x[i - 1]) / (x[i] - x[i - 1]) * (y[i] - y[i - 1])
            area += (limit - x[i - 1]) * (at_limit + y[i - 1]) / 2
    return area / limit


def frames(seed: int, count: int) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    """Maps whose defects (0 to 3 blobs of different size, some touching at a corner) score higher on average."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for i in range(count):
        mask = np.zeros(SIZE, dtype=bool)
        for _ in range(i % 4):
            r, c, h, w = rng.integers(0, 30), rng.integers(0, 30), rng.integers(1, 10), rng.integers(1, 18)
            mask[r : r + h, c : c + w] = True
        if i == 1:
            mask[5, 5] = mask[6, 6] = True
        maps.append(rng.gamma(3.0 + 2.0 * mask).astype(np.float32))
        masks.append(mask)
    return maps, masks


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


@pytest.mark.parametrize("seed", range(3))
def test_pixel_figures_equal_brute_force_within_the_stated_error(seed: int) -> None:
    """Pixel AUROC and AUPRO equal their definitions within the error they state, which is below 1e-3."""
    maps, masks = frames(seed, 9)
    tally = PixelTally()
    for i, (m, mask) in enumerate(zip(maps, masks, strict=True)):
        tally.add("good" if not mask.any() else f"defect-{i % 2}", m, mask)
    every = np.concatenate([m.ravel() for m in maps]).astype(np.float64)
    truth = np.concatenate([mask.ravel() for mask in masks])
    for found, expected in (
        (tally.auroc(), image_auroc(every, truth)),
        (tally.aupro(), brute_aupro(maps, masks, 0.3)),
        (tally.aupro(limit=0.05), brute_aupro(maps, masks, 0.05)),
        (tally.aupro(limit=1.0), brute_aupro(maps, masks, 1.0)),
    ):
        assert found.value == pytest.approx(expected, abs=found.error + 1e-9)
        assert found.value == pytest.approx(expected, abs=2e-5)
        assert found.error < 1e-3


def test_a_kind_of_defect_is_measured_against_good_frames_and_itself_only() -> None:
    """Figures of one defect type are those of a tally that saw no other type."""
    maps, masks = frames(5, 12)
    kinds = ["good" if not mask.any() else ("crack" if i % 2 else "stain") for i, mask in enumerate(masks)]
    everything, alone = PixelTally(), PixelTally()
    for kind, m, mask in zip(kinds, maps, masks, strict=True):
        everything.add(kind, m, mask)
        if kind != "stain":
            alone.add(kind, m, mask)
    assert everything.auroc(("good", "crack")) == alone.auroc()
    assert everything.aupro(("good", "crack")) == alone.aupro()
    assert everything.aupro() != alone.aupro()


def test_a_perfect_and_a_blind_map_score_one_and_one_half() -> None:
    """Maps that equal the mask reach 1; a constant map gives the diagonal: 0.5, and 0.15 up to 0.3 (normalised)."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[3:9, 4:20] = True
    perfect, blind = PixelTally(), PixelTally()
    perfect.add("stain", mask.astype(np.float32), mask)
    blind.add("stain", np.ones(SIZE, dtype=np.float32), mask)
    assert perfect.auroc().value == pytest.approx(1.0)
    assert perfect.aupro().value == pytest.approx(1.0)
    assert blind.auroc().value == pytest.approx(0.5)
    assert blind.aupro().value == pytest.approx(0.15)
    assert blind.auroc().error == pytest.approx(0.5)


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
    """Scores that are not finite, lengths that differ, masks of another shape and negative maps are refused."""
    with pytest.raises(EvaluationError, match="finite"):
        evaluate([1.0, float("nan")], ["good", "crack"])
    with pytest.raises(EvaluationError, match="2 scores for 1 kinds"):
        evaluate([1.0, 2.0], ["good"])
    with pytest.raises(EvaluationError, match="one frame or more"):
        evaluate([], [])
    tally = PixelTally()
    with pytest.raises(EvaluationError, match="one shape"):
        tally.add("crack", np.ones((4, 4), dtype=np.float32), np.ones((4, 5), dtype=bool))
    with pytest.raises(EvaluationError, match="not negative"):
        tally.add("good", np.full((4, 4), -1, dtype=np.float32), None)


def test_roc_starts_at_nothing_rejected_and_ends_at_everything() -> None:
    """The ROC curve runs from (0, 0) to (1, 1), thresholds descending."""
    curve = roc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    assert (curve.false_reject_rate[0], curve.detection_rate[0]) == (0, 0)
    assert (curve.false_reject_rate[-1], curve.detection_rate[-1]) == (1, 1)
    assert np.all(np.diff(curve.thresholds) < 0)
