"""Pixel figures against their definitions, written out by brute force."""

import numpy as np
import pytest
from numpy.typing import NDArray

from patchline.engine.errors import EvaluationError
from patchline.engine.evaluation.metrics import image_auroc
from patchline.engine.evaluation.pixel_metrics import PixelTally

SIZE = (40, 48)


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


def test_unusable_maps_are_refused() -> None:
    """Masks of another shape and negative maps are refused."""
    tally = PixelTally()
    with pytest.raises(EvaluationError, match="one shape"):
        tally.add("crack", np.ones((4, 4), dtype=np.float32), np.ones((4, 5), dtype=bool))
    with pytest.raises(EvaluationError, match="not negative"):
        tally.add("good", np.full((4, 4), -1, dtype=np.float32), None)
    with pytest.raises(EvaluationError, match=r"an anomaly map \(H, W\)"):
        tally.add("crack", np.ones(4, dtype=np.float32), None)
    with pytest.raises(EvaluationError, match="finite numbers"):
        tally.add("crack", np.full((4, 4), np.nan, dtype=np.float32), None)
    assert tally.kinds == ()
