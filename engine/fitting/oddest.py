"""The oddest images of a fit, for a person to look at first, each with what is odd about it.

A good image among them costs a glance; a defect among the good ones costs escapes. They are told by their held-out
scores, as the threshold is; images that were set aside are scored by the same rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from patchline.engine.fitting.folds import Plan
from patchline.engine.fitting.stages import EmbeddedImages
from patchline.engine.fitting.union import Union
from patchline.engine.inspection.anomaly_map import anomaly_map
from patchline.engine.numerics.integer_distances import sq_to_nearest
from patchline.engine.recipe import Recipe
from patchline.engine.types import AnomalyMap, Doubles

ODDEST = 12
"""As many as a person looks at in a minute."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OddImage:
    """An image of the fit: its position among the fit's images, its name, its held-out score and its anomaly map, by
    the rows of the other folds, float32 (H, W) of the recipe's size; and whether it was set aside.
    """

    position: int
    name: str
    score: float
    set_aside: bool
    anomaly_map: AnomalyMap


def oddest(
    embedded: EmbeddedImages, union: Union, plan: Plan, positions: Sequence[int], scores: Doubles, recipe: Recipe
) -> tuple[OddImage, ...]:
    """The images with the highest scores, the highest first; of equal ones the first.

    Args:
        embedded: all images.
        union: the rows.
        plan: the fold of each image.
        positions: of the images that have scores.
        scores: float64 (n,), theirs.
        recipe: the size of the maps, and how they are smoothed.
    """
    first = sorted(zip((-scores).tolist(), positions, strict=True))[:ODDEST]
    wanted = {position for _, position in first}
    maps: dict[int, AnomalyMap] = {}
    for fold in sorted({plan.fold_of[position] for position in wanted}):
        others = union.rows[union.fold != fold]
        for position, patches in embedded.images(fold):
            if position in wanted:
                distances = np.sqrt(sq_to_nearest(np.asarray(patches), others)[0]) * embedded.scale
                patch_scores = distances.astype(np.float32).reshape(embedded.grid)
                maps[position] = anomaly_map(patch_scores, recipe.image_size_px, recipe.smoothing_sigma)
    aside = set(plan.set_aside)
    return tuple(
        OddImage(
            position=position,
            name=embedded.names[position],
            score=-less,
            set_aside=position in aside,
            anomaly_map=maps[position],
        )
        for less, position in first
    )
