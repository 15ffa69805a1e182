"""Do thresholds by folds hold the rate that they aim at? Draws of few good images, judged on all that are left.

Each draw deals n good images into folds, makes the bank of all and the threshold by each image's score without its own
fold, by the product's own steps, from embeddings that are made once. Beside it stands a split, as `--calibration`
makes it: as many images held out as the rate wants, the bank of the others alone. Both keep the recipe's least rows.

A draw is above its interval where it rejects more of the good frames that are left than a threshold by n independent
scores would in 97.5 % of draws: beta-binomial of the frames judged, the upper end of the 95 % that a fit prints.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import betabinom

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.rates import frames_needed, lowest_rate, rank_of_groups
from patchline.engine.features.extractor import FeatureExtractor, load_backbone
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.features.weights import EFFICIENTNET_LITE0, pinned
from patchline.engine.fitting.folds import MOST_CALIBRATED, Plan, plan_folds, plan_split
from patchline.engine.fitting.reading import Reading
from patchline.engine.fitting.scratch import EmbeddingFile
from patchline.engine.fitting.setting_aside import settle
from patchline.engine.fitting.stages import EmbeddedImages, FitStages, ignore_progress
from patchline.engine.fitting.union import Union, score_by_other_folds, union_of
from patchline.engine.inspection.judge import score_of
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.numerics.quantise import dequantise, quantise, scale_for
from patchline.engine.recipe import Recipe
from patchline.engine.search.factory import make_search
from patchline.engine.types import Rows
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.first_hour_sets import Set, embedded
from tests.bench.row import Row, from_values

DRAWS = 100
REPORTED = (10, 15)
"""Images too few for a goal."""
DRAWS_OF = dict.fromkeys(REPORTED, 25)
SPLITS = 40
"""Draws of each number of images that have a split beside them."""
IMAGES = {"magnetic_tile": (30, 60, 90), "mvtec_bottle": (30, 60, 120)}
AIMED = (0.10, 0.05)
UPPER = 0.975
MOST_ABOVE = 0.10
"""Of draws, above the interval that is printed."""
LESS_RECALL = 0.02
"""Than a split's."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """A set's good images and defects: float32 (F, P, D) as the backbone gives them, and as a bank stores them."""

    good: NDArray[np.float32]
    defects: NDArray[np.float32]
    rows: Rows
    scale: float
    grid: tuple[int, int]
    extractor: FeatureExtractor


@dataclass(frozen=True)
class InMemory:
    """What stages ask of an `EmbeddingFile`, of patches that are at hand: int16 (N, D)."""

    patches: Rows
    scale: float

    def __len__(self) -> int:
        return len(self.patches)

    def rows(self) -> Rows:
        """All patches."""
        return self.patches


@dataclass(frozen=True)
class Draw:
    """At one rate: good frames rejected and whether that is above the interval, and the share of defects rejected;
    `split` is that share by a split, None where none can aim at the rate, or none was made.
    """

    rejected: float
    above: bool
    recall: float
    split: float | None


def rates(bench: Bench, of: Set) -> list[Row]:
    """The worst cell of a set in each of three goals; all cells are said."""
    stored = _stored(bench, of)
    sizes = (15, 30) if bench.quick else (*REPORTED, *IMAGES[of.name])
    cells: dict[tuple[int, float], list[Draw]] = {}
    bench.say(
        f"{of.name}: {len(stored.good)} good images, of which n are drawn and the others judged, with "
        f"{len(stored.defects)} defects; least rows {recipe_of(0).least_rows}"
    )
    with get_context("spawn").Pool(bench.threads, _begin, (of, bench.quick)) as pool:
        for n in sizes:
            draws = range(3 if bench.quick else DRAWS_OF.get(n, DRAWS))
            for at_rates in pool.imap(_draw, [(n, draw) for draw in draws]):
                for rate, one in at_rates.items():
                    cells.setdefault((n, rate), []).append(one)
            for (size, rate), found in cells.items():
                if size == n:
                    bench.say(_said(n, rate, found))
    return _rows(of.name, {cell: found for cell, found in cells.items() if cell[0] not in REPORTED})


def _said(n: int, rate: float, found: Sequence[Draw]) -> str:
    rejected, beside = [draw.rejected for draw in found], _beside_split(found)
    recall = fmean(draw.recall for draw in found)
    split = "no split"
    if beside:
        split = f"{fmean(ours for ours, _ in beside):.3f} of {len(beside)} draws with a split, which rejects "
        split += f"{fmean(theirs for _, theirs in beside):.3f}"
    return (
        f"  n {n:3}, aimed {rate:.4f}: {fmean(rejected):.4f} of good frames rejected (standard error "
        f"{_error(rejected):.4f}, worst {max(rejected):.3f}), {sum(draw.above for draw in found)} of {len(found)} "
        f"draws above their interval; {recall:.3f} of defects rejected, {split}"
    )


def _rows(name: str, cells: dict[tuple[int, float], list[Draw]]) -> list[Row]:
    def limit(rate: float, found: Sequence[Draw]) -> tuple[float, float]:
        rejected = [draw.rejected for draw in found]
        return fmean(rejected), rate + 2 * _error(rejected)

    worst = max((limit(rate, found) for (_, rate), found in cells.items()), key=lambda pair: pair[0] / pair[1])
    above = max(fmean(draw.above for draw in found) for found in cells.values())
    recalls = [
        (fmean(ours for ours, _ in beside), fmean(theirs for _, theirs in beside) - LESS_RECALL)
        for found in cells.values()
        if (beside := _beside_split(found))
    ]
    recall = min(recalls, key=lambda pair: pair[0] - pair[1])
    return [
        from_values(f"first_hour_rate_{name}", *worst, goal=1.0, unit="share", less_is_better=True),
        from_values(f"first_hour_above_{name}", above, MOST_ABOVE, goal=1.0, unit="share", less_is_better=True),
        from_values(f"first_hour_recall_{name}", *recall, goal=1.0, unit="share"),
    ]


def _beside_split(found: Sequence[Draw]) -> list[tuple[float, float]]:
    """Shares of defects rejected, ours and a split's, of the draws that have one."""
    return [(draw.recall, draw.split) for draw in found if draw.split is not None]


def _error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values))


def _begin(of: Set, quick: bool) -> None:
    """Prepare a process that makes draws, on one core."""
    torch.set_num_threads(1)
    _here.append(_stored(Bench(console=Console(), quick=quick), of))


_here: list[Stored] = []
"""What the draws of this process are made of."""


def _draw(which: tuple[int, int]) -> dict[float, Draw]:
    """One draw of n good images, by its number, at every rate that they can aim at."""
    (stored,), (n, draw) = _here, which
    order = np.random.default_rng((n, draw)).permutation(len(stored.good))
    used, left = order[:n], stored.good[order[n:]]
    recipe = recipe_of(draw)
    scores, set_aside, union = by_folds(stored, used, recipe)
    judge = _judge(union, stored.scale, recipe)
    good, defects = judge(left), judge(stored.defects)
    found, carry = {}, min(n, MOST_CALIBRATED)
    lowest = lowest_rate(carry)
    for rate in sorted({rate for rate in AIMED if rate >= lowest} | {lowest}, reverse=True):
        threshold = calibrate(scores, rate, set_aside=set_aside).threshold
        rejected, k = int((good > threshold).sum()), rank_of_groups(carry, rate)
        found[rate] = Draw(
            rejected=rejected / len(left),
            above=rejected > betabinom(len(left), carry + 1 - k, k).ppf(UPPER),
            recall=float((defects > threshold).mean()),
            split=_split_recall(stored, used, recipe, rate) if draw < SPLITS else None,
        )
    return found


def by_folds(stored: Stored, used: NDArray[np.int64], recipe: Recipe) -> tuple[Scores, int, Union]:
    """Scores of the images without their own folds, how many others were set aside, and the bank of the former."""
    with ExitStack() as files:
        plan, images, union = _fitted(stored, used, plan_folds(range(len(used)), recipe), recipe, files)
        scores = score_by_other_folds(images, union, plan, plan.calibrated, Reading(recipe, ignore_progress))
    return scores, plan.counted_groups, union


def _split_recall(stored: Stored, used: NDArray[np.int64], recipe: Recipe, rate: float) -> float | None:
    """The share of defects rejected where as many images are held out as the rate wants; None: none would be left."""
    held = frames_needed(rate)
    if held >= len(used):
        return None
    with ExitStack() as files:
        *_, union = _fitted(stored, used[held:], plan_split(len(used) - held, range(held), recipe), recipe, files)
    judge = _judge(union, stored.scale, recipe)
    threshold = calibrate(judge(stored.good[used[:held]]), rate).threshold
    return float((judge(stored.defects) > threshold).mean())


def _fitted(
    stored: Stored, used: NDArray[np.int64], plan: Plan, recipe: Recipe, files: ExitStack
) -> tuple[Plan, EmbeddedImages, Union]:
    positions: list[list[int]] = [[] for _ in range(plan.folds)]
    for position, fold in enumerate(plan.fold_of):
        positions[fold].append(position)
    in_memory = [InMemory(np.concatenate(stored.rows[used[own]]), stored.scale) for own in positions]
    names = [str(number) for number in used]
    images = EmbeddedImages(cast(list[EmbeddingFile], in_memory), stored.grid, names, positions)
    tiled = TiledExtractor(recipe, stored.extractor)
    stages = FitStages(recipe, stored.extractor, tiled, Reading(recipe, ignore_progress))
    folder = Path(files.enter_context(TemporaryDirectory()))
    settled = settle(stages, recipe, plan, images, files, folder, leave_out=False, trusted=())
    return settled.plan, settled.embedded, union_of(settled.embedded, settled.coresets)


def _judge(union: Union, scale: float, recipe: Recipe) -> Callable[[NDArray[np.float32]], Scores]:
    """Scores frames, float32 (F, P, D), as the inspector does."""
    rows = dequantise(union.rows, scale)
    index = make_search("pruned", rows)
    scorer = Scorer(rows, index, recipe.neighbours, recipe.score_patches)
    return lambda frames: np.array([score_of(index, scorer, [frame]).value for frame in frames])


def recipe_of(seed: int) -> Recipe:
    return Recipe(name="first-hour", backbone=pinned(EFFICIENTNET_LITE0), image_size_px=workload.SIZE_PX, seed=seed)


def _stored(bench: Bench, of: Set) -> Stored:
    good = embedded(bench, f"{of.name}-good", [workload.read(path) for path in (*of.train, *of.test)])
    defects = embedded(bench, f"{of.name}-defects", [workload.read(path) for path in of.defects])
    scale = scale_for(float(np.abs(good).max()))
    grid = (workload.SIZE_PX[0] // 8, workload.SIZE_PX[1] // 8)
    rows = quantise(good.reshape(-1, good.shape[2]), scale).reshape(good.shape)
    return Stored(good, defects, rows, scale, grid, load_backbone(pinned(EFFICIENTNET_LITE0), torch.device("cpu")))
