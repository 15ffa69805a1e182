"""A precision below float32 is taken only where it costs nothing: a fit measures what it does to scores and verdicts.

With int8, images of the fit show the range of each tensor first (`observe`). Once the bank is fitted, the same patches
are kept in float32 too, and the images that carry the threshold are scored by both banks, each without the rows of its
own fold (`compare`). The rows are the same patches on purpose: another choice of rows alone moves scores, whatever the
precision.

Scores of two precisions are compared by where they lie between the median of their own bank's scores, 0, and its
threshold, 1. What good images show is how much good frames move; how far defects do, nobody can measure who has none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from patchline.engine.bank.calibration import calibrate
from patchline.engine.features import batch_norm, network
from patchline.engine.features.quantisation import int8
from patchline.engine.fitting.folds import Plan
from patchline.engine.fitting.reading import NamedImage
from patchline.engine.fitting.scratch import ImageSpool
from patchline.engine.fitting.stages import FitStages, batches
from patchline.engine.fitting.union import Union
from patchline.engine.numerics.quantise import quantise, scale_for
from patchline.engine.numerics.timing import quickest_s
from patchline.engine.recipe import Recipe
from patchline.engine.types import Doubles, Floats, Image

OBSERVED = 32
"""Images by which the ranges are observed, spread evenly over those of the fit."""
TIMED = 3
"""How often the same image is embedded to see how fast that is."""
MOST_MOVED = 0.25
"""How far a held-out score may move, as a share of the distance from their median to the threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionCheck:
    """What a precision does to the scores of held-out good frames.

    `moved` is the largest change of a score, in distances from the median score to the threshold; `changed` is how many
    of the `frames` get another verdict. `speed` says how many times as fast as in float32 a frame is embedded here.
    """

    precision: str
    moved: float
    changed: int
    frames: int
    speed: float

    @property
    def holds(self) -> bool:
        """Whether no score moves farther than the margin: then only verdicts within it can change."""
        return self.moved <= MOST_MOVED

    def __str__(self) -> str:
        return (
            f"{self.precision}: beside float32 the score of a held-out good frame moves by at most {self.moved:.2f} of "
            f"the distance from their median to the threshold (allowed: {MOST_MOVED:g}); {self.changed} of "
            f"{self.frames} verdicts change; a frame is embedded {self.speed:.1f} times as fast here"
        )


def in_float32(recipe: Recipe) -> Recipe:
    """The same recipe with its backbone in float32."""
    return structs.replace(recipe, backbone=structs.replace(recipe.backbone, precision="float32", ranges=()))


def observe(recipe: Recipe, images: Iterable[Image], float32: FitStages) -> Recipe:
    """The recipe with the ranges that its backbone's tensors have on prepared images of good parts.

    Args:
        recipe: in int8.
        images: RGB uint8 (H, W, 3) at the recipe's size; they are levelled and tiled here as the recipe asks.
        float32: the stages of the same recipe in float32.
    """
    observer = int8.observer(int8.join_convolutions(batch_norm.fold(network.build(recipe.backbone))))
    for image in images:
        for pixels in float32.tiled.passes(image):
            observer(float32.extractor.normalise(pixels[None]))
    return structs.replace(recipe, backbone=structs.replace(recipe.backbone, ranges=observer.ranges()))


def spread_evenly(positions: Sequence[int], count: int = OBSERVED) -> frozenset[int]:
    """At most `count` of some positions, spread evenly over them."""
    return frozenset(positions[i] for i in np.linspace(0, len(positions) - 1, min(count, len(positions)), dtype=int))


def score_in_float32(
    float32: FitStages, images: Iterable[NamedImage], held_out: ImageSpool, union: Union, plan: Plan
) -> Doubles:
    """Scores of good images, float64 (n,), by a float32 bank of the patches that another bank is made of.

    Args:
        float32: the stages of the recipe in float32.
        images: the images of the fit in order, as often as they are asked for.
        held_out: those that carry the threshold where the plan names none of the fit's.
        union: the other bank's rows.
        plan: the fold of each image, and which of them carry the threshold.
    """
    rows: Floats = np.empty((0, 0), dtype=np.float32)
    used = set(union.position.tolist())
    done = 0
    with float32.reading.timed("measure"):
        chosen = ((position, image) for position, image in enumerate(images) if position in used)
        for batch in batches(chosen, float32.batch):
            for (position, _), bands in zip(batch, float32.embeddings([i for _, (_, i) in batch]), strict=True):
                values = np.concatenate(list(bands))
                if not len(rows):
                    rows = np.empty((len(union.rows), values.shape[1]), dtype=np.float32)
                own = np.flatnonzero(union.position == position)
                rows[own] = values[union.patch[own]]
            done += len(batch)
            float32.reading.report("measure", done, len(used))
    scale = scale_for(float(np.abs(rows).max()))
    stored = quantise(rows, scale)
    if plan.folds == 1:
        return np.array(float32.scores(held_out, len(held_out), stored, scale, lambda _name, _patches: None))
    scores: dict[int, float] = {}
    for fold in range(plan.folds):
        own_fold = [position for position in plan.calibrated if plan.fold_of[position] == fold]
        of_fold = (image for position, image in enumerate(images) if position in own_fold)
        others = stored[union.fold != fold]
        found = float32.scores(of_fold, len(own_fold), others, scale, lambda _name, _patches: None)
        scores |= zip(own_fold, found, strict=True)
    return np.array([scores[position] for position in plan.calibrated])


def compare(
    recipe: Recipe,
    scores: Doubles,
    float32: Doubles,
    speed: float = 1.0,
    groups: NDArray[np.int32] | None = None,
    set_aside: int = 0,
) -> PrecisionCheck:
    """What a recipe's precision does to the scores of the same held-out good frames.

    Args:
        recipe: its precision, and the rate that the threshold aims at.
        scores: float64 (n,), in that precision.
        float32: float64 (n,), in float32.
        speed: how many times as fast as in float32 a frame is embedded.
        groups: int32 (n,), of the frames; each its own where it is None.
        set_aside: further groups, which the fit has set aside.
    """
    rate = recipe.false_reject_rate
    here, there = (_places(s, calibrate(s, rate, groups, set_aside=set_aside).threshold) for s in (scores, float32))
    return PrecisionCheck(
        precision=recipe.backbone.precision,
        moved=float(np.nan_to_num(np.abs(here - there), nan=np.inf).max()),
        changed=int(np.sum((here > 1) != (there > 1))),
        frames=len(scores),
        speed=speed,
    )


def speed_over(float32: FitStages, other: FitStages, image: Image) -> float:
    """How many times as fast as in float32 a prepared image is embedded in another precision."""
    return _quickest_s(float32, image) / _quickest_s(other, image)


def _quickest_s(stages: FitStages, image: Image) -> float:
    """Seconds to embed an image where nothing comes between."""

    def embed() -> None:
        for _band in stages.tiled.bands(image):
            pass

    return quickest_s(embed, TIMED, perf_counter)


def _places(scores: Doubles, threshold: float) -> Doubles:
    """Where scores lie between their median, 0, and the threshold, 1; NaN where the two are one."""
    median = float(np.median(scores))
    distance = threshold - median
    return (scores - median) / (distance if distance > 0 else np.nan)
