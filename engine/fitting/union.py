"""The bank of a fit by folds: the union of their coresets; and good images scored by the rows of the other folds.

A row belongs to one fold, so to leave a fold out is to pass over its rows: no second bank is needed, and the scores are
exactly those that the bank of the other folds gives. They are made of stored integers (`inspection.stored_scores`), as
`learning` makes them of the same frames ever after.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from patchline.engine.coreset.greedy import Coreset
from patchline.engine.fitting.folds import Plan
from patchline.engine.fitting.reading import Reading
from patchline.engine.fitting.stages import EmbeddedImages, KeepPatches, ignore_patches
from patchline.engine.inspection.stored_scores import stored_scores
from patchline.engine.numerics.integer_distances import ScreenedRows, sq_norms
from patchline.engine.types import Doubles, Indices, Rows


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Union:
    """Rows of all folds by greedy rank, the folds in turn: what each fold chose first lies first.

    `rows` is int16 (M, D); `fold`, `position` and `patch`, int64 (M,), are each row's fold, the position of its image,
    and its patch there. `radius` is the largest of the folds' covering radii: every patch lies within it of a row.
    `fold_radius` is the smallest.
    """

    rows: Rows
    fold: Indices
    position: Indices
    patch: Indices
    radius: float
    fold_radius: float


@dataclass(frozen=True, slots=True, eq=False)
class _FarPatches:
    """The patches of an image that may be its farthest; see `inspection.stored_scores.MeasuredFrame`."""

    patches: Rows
    sq: Doubles
    nearest: Indices
    fold: int | None


def union_of(embedded: EmbeddedImages, coresets: Sequence[Coreset]) -> Union:
    """The rows that the folds have chosen, as one bank."""
    per_image = embedded.grid[0] * embedded.grid[1]
    rows, folds, ranks, images, patches = [], [], [], [], []
    for fold, coreset in enumerate(coresets):
        number, patch = np.divmod(coreset.indices, per_image)
        rows.append(embedded.files[fold].rows()[coreset.indices])
        folds.append(np.full(len(patch), fold))
        ranks.append(np.arange(len(patch)))
        images.append(np.array(embedded.positions[fold])[number])
        patches.append(patch)
    fold_of = np.concatenate(folds)
    order = np.lexsort((fold_of, np.concatenate(ranks)))
    radii = [coreset.radius for coreset in coresets]
    return Union(
        rows=np.ascontiguousarray(np.concatenate(rows)[order]),
        fold=fold_of[order],
        position=np.concatenate(images)[order],
        patch=np.concatenate(patches)[order],
        radius=max(radii),
        fold_radius=min(radii),
    )


def score_by_other_folds(
    embedded: EmbeddedImages,
    union: Union,
    plan: Plan,
    positions: Sequence[int],
    reading: Reading,
    keep: KeepPatches = ignore_patches,
) -> Doubles:
    """Anomaly scores of images, float64 (n,), without the rows of their own fold.

    Args:
        embedded: images, these among them.
        union: the rows.
        plan: the fold of each image.
        positions: of the images to score.
        reading: the recipe, and what hears of progress.
        keep: is given each image's patch embeddings, in the order of `positions`.
    """
    recipe, wanted = reading.recipe, set(positions)
    measured: dict[int, _FarPatches] = {}
    with reading.timed("calibrate"):
        for fold in range(plan.folds):
            others = np.flatnonzero(union.fold != fold)
            rows = union.rows[others]
            screened = ScreenedRows(rows, sq_norms(rows))
            for position, patches in embedded.images(fold):
                if position not in wanted:
                    continue
                found, sq, nearest = screened.farthest(patches, recipe.score_patches)
                measured[position] = _FarPatches(np.array(patches[found]), sq, others[nearest], fold)
                reading.report("calibrate", len(measured), len(wanted))
        scores = stored_scores(
            [measured[position] for position in positions],
            union.rows,
            union.fold.astype(np.int32),
            embedded.scale,
            recipe.neighbours,
            recipe.score_patches,
        )
        patches_of = embedded.by_position()
        for position in positions:
            keep(embedded.names[position], patches_of[position])
    return scores
