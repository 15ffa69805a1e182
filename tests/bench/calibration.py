"""Is the promise kept? The share of fresh good frames that a calibrated threshold rejects, over 20 splits by piece.

Of each piece only its frame under light 1 is used, so frames of fit, calibration and test are always other pieces. With
n calibration frames and k = ceil((n + 1)(1 - alpha)), the rejects among m fresh frames are beta-binomial (m, n + 1 - k,
k); the interval is that of the mean of 20 such draws.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from scipy.stats import betabinom

from patchline.engine.features.weights import EFFICIENTNET_LITE0
from patchline.engine.fitting.fit import fit
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.recipe import Recipe
from patchline.engine.types import Verdict
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.remembered import remembered
from tests.bench.row import Row

PRODUCT = "magnetic_tile"
SEEDS = 20
LIKELY = 0.95
CALIBRATION = {0.05: 59, 0.01: 99}
"""Frames to calibrate on, by the rate promised."""
FITTED = 40


def calibration(bench: Bench) -> list[Row]:
    """False rejects of fresh good frames at 5 % and at 1 %: `ours` must not exceed `peer`, the interval's upper end."""
    paths = sorted((bench.data / PRODUCT).glob("*/good/exp1_*.jpg"), key=lambda path: path.name)
    bench.say(
        f"EfficientNet-Lite0, strides 8 and 16, {workload.SIZE_PX}, 2 % coreset of {FITTED} frames; {len(paths)} good "
        f"pieces under one light, {SEEDS} splits"
    )
    with remembered(bench.build / "embeddings"):
        return [_row(bench, paths, rate) for rate in CALIBRATION]


def _row(bench: Bench, paths: Sequence[Path], rate: float) -> Row:
    n = CALIBRATION[rate]
    seeds = 2 if bench.quick else SEEDS
    rejected = [_rejects(paths, rate, n, seed) for seed in range(seeds)]
    fresh = len(paths) - FITTED - n
    mean = sum(rejected) / (seeds * fresh)
    low, high = interval(n, rate, fresh, seeds)
    bench.say(
        f"{rate:.0%} asked for, {n} calibration frames: {mean:.4f} of {fresh} fresh frames rejected, mean of {seeds} "
        f"splits (each: {', '.join(map(str, rejected))}); {LIKELY:.0%} interval {low:.4f} to {high:.4f}"
    )
    # The goal is the whole interval: outside on either side the ratio falls below 1.
    inside = 1.0 if low <= mean <= high else min(high / mean if mean else 0.0, mean / low if low else 1.0)
    return Row(
        figure=f"calibration{rate:g}",
        ours=mean,
        peer=rate,
        ratio=inside,
        goal=1.0,
        unit="share",
        spread=(low, high),
    )


def _rejects(paths: Sequence[Path], rate: float, n: int, seed: int) -> int:
    """False rejects among the frames that are neither fitted nor calibrated on."""
    drawn = [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]
    recipe = Recipe(
        name=PRODUCT,
        backbone=EFFICIENTNET_LITE0,
        image_size_px=workload.SIZE_PX,
        coreset_fraction=0.02,
        least_rows=0,
        false_reject_rate=rate,
        seed=seed,
    )
    named = [(path.name, workload.read(path)) for path in drawn]
    bank = fit(named[:FITTED], recipe, calibration=named[FITTED : FITTED + n], device="cpu").bank
    inspector = Inspector({PRODUCT: bank}, device="cpu")
    found = inspector.inspect([(PRODUCT, image) for _, image in named[FITTED + n :]])
    return sum(inspection.verdict is Verdict.REJECT for inspection in found)


def interval(n: int, rate: float, fresh: int, draws: int) -> tuple[float, float]:
    """Where the mean share of rejects lies with probability 95 %: `draws` times `fresh` frames, n to calibrate on."""
    k = ceil((n + 1) * (1 - rate) - 1e-9)
    one = betabinom(fresh, n + 1 - k, k).pmf(np.arange(fresh + 1))
    total = np.ones(1)
    for _ in range(draws):
        total = np.convolve(total, one)
    below = np.cumsum(total)
    low, high = np.searchsorted(below, [(1 - LIKELY) / 2, (1 + LIKELY) / 2])
    return float(low) / (draws * fresh), float(high) / (draws * fresh)
