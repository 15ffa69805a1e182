"""Which images of a fit look contaminated: defects among the good ones.

Defects mask one another: similar ones in other folds vouch for each other, so a held-out score does not tell them. But
what is good is common, and a defect is shared by few. So each row of the folds' coresets, which are the most unusual
patches of each fold, is asked how far it lies from the k-th nearest *image*, k a quarter of them: as far as a quarter
of the images are contaminated in one way, they do not vouch for each other. That is a row's oddness o. An image has a
patch within d of the row, so by the triangle inequality the oddness of that patch is at least o - d: an image's score
is the largest o - d over all rows, whether they came from it or from another image with the same defect.

The k-th nearest neighbour as a measure of outliers is that of Ramaswamy, Rastogi and Shim (2000, "Efficient algorithms
for mining outliers from large data sets"), here with images for neighbours. What is too odd is told by order statistics
of the good part of the scores, which contamination hardly moves: with l the score that a tenth of the images stay
below, and m the one that four tenths do, an image is odd above m * max(1.5, (m / l)^4), which is four spreads in
logarithms. What is odd is taken away, its rows and itself as a neighbour, and the others are scored again, until
nothing more is found. It takes several rows an image to tell: with few, scores spread, and little is named.

Copies of one image are one: distances are to groups, and a group is odd as a whole. Squared distances are exact
integers, and what follows from them is square roots and products alone, so that any machine finds the same images.
"""

from collections.abc import Collection, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.greedy import Coreset
from patchline.engine.fitting.folds import Plan
from patchline.engine.fitting.stages import EmbeddedImages
from patchline.engine.numerics.integer_distances import sq_norms
from patchline.engine.numerics.matmul import product
from patchline.engine.types import Doubles, Indices, Rows

NEIGHBOURS = 0.25
"""k as a share of the images: masking by more of them goes unseen, and a kind of good image that is rarer is odd."""
LOW, MIDDLE = 0.1, 0.4
"""The shares of the scores that lie below l and m."""
LEAST_RATIO = 1.5
"""Beyond m: images that hardly differ have no spread worth the name."""
FEWEST = 10
"""Groups below which nothing can be called common."""
MOST = 0.35
"""The share of the groups that may be odd; where more are, those of the last round are another kind of good image."""
REFERENCES = 100
"""Images that rows are compared with, spread evenly; with all images only the rows that are odd are."""
ASKED, LEAST_ASKED = 16, 1500
"""Rows that are asked for each image, and in all at least: those that their folds chose first."""
ASKED_BLOCK = 2048
"""Rows, and patches, that are compared at a time, as float64."""


def contaminated(
    embedded: EmbeddedImages, coresets: Sequence[Coreset], plan: Plan, trusted: Collection[int] = ()
) -> tuple[int, ...]:
    """Positions of the images that look contaminated, ascending; whole groups, and no fold's last one.

    Args:
        embedded: all images.
        coresets: of the folds.
        plan: the fold and the group of each image.
        trusted: positions of images that are good whatever they look like, and all of their groups.
    """
    units, unit_of = np.unique(np.array(plan.group_of), return_inverse=True)
    if len(units) < FEWEST:
        return ()
    rows, row_unit = _rows_of(embedded, coresets, unit_of)
    by_position = [patches for _, patches in sorted(embedded.by_position().items())]
    total = len(by_position)
    references = np.unique(np.linspace(0, total - 1, min(REFERENCES, total)).astype(np.int64))
    columns, column_of = np.unique(unit_of[references], return_inverse=True)
    near = _to_groups(rows, [by_position[p] for p in references], column_of, len(columns))
    good = np.zeros(len(units), dtype=bool)
    good[unit_of[list(trusted)]] = True
    unit_fold = np.empty(len(units), dtype=np.int64)
    unit_fold[unit_of] = plan.fold_of
    everywhere: dict[int, Doubles] = {}
    out = np.zeros(len(units), dtype=bool)
    while True:
        oddness = _oddness(near, columns, row_unit, out)
        scores = _scores(oddness, near, columns, row_unit, everywhere, len(units))
        bar = _bar(scores[~out])
        new = [row for row in np.flatnonzero(oddness > bar).tolist() if row not in everywhere]
        if new and len(references) < total:  # who else has what is odd about these rows?
            found = _to_groups(rows[new], by_position, unit_of, len(units))
            everywhere |= dict(zip(new, found, strict=True))
            scores = _scores(oddness, near, columns, row_unit, everywhere, len(units))
        odd = out | ((scores > bar) & ~good & ~out)
        for fold in range(plan.folds):
            own = np.flatnonzero(unit_fold == fold)
            if odd[own].all():
                odd[own[np.argmin(np.where(out[own], np.inf, scores[own]))]] = False
        if odd.sum() > MOST * len(units) or (odd == out).all():
            break
        out = odd
    return tuple(np.flatnonzero(out[unit_of]).tolist())


def _rows_of(embedded: EmbeddedImages, coresets: Sequence[Coreset], unit_of: Indices) -> tuple[Rows, Indices]:
    """The rows of all folds that are asked, and the group that each came from."""
    asked = ceil(max(ASKED * len(unit_of), LEAST_ASKED) / len(coresets))
    per_image = embedded.grid[0] * embedded.grid[1]
    rows, owners = [], []
    for fold, coreset in enumerate(coresets):
        indices = coreset.indices[:asked]
        rows.append(embedded.files[fold].rows()[indices])
        owners.append(unit_of[np.array(embedded.positions[fold])[indices // per_image]])
    return np.concatenate(rows), np.concatenate(owners)


def _to_groups(rows: Rows, images: Sequence[Rows], column_of: Indices, columns: int) -> Doubles:
    """The distance of each row to the nearest patch of each group of images, float64 (M, columns)."""
    sq = np.full((len(rows), columns), np.inf)
    for start in range(0, len(rows), ASKED_BLOCK):
        block = rows[start : start + ASKED_BLOCK]
        X, norms = -2 * block.astype(np.float64), sq_norms(block)
        for image, column in zip(images, column_of.tolist(), strict=True):
            into = sq[start : start + len(block), column]
            for first in range(0, len(image), ASKED_BLOCK):
                Y = np.asarray(image[first : first + ASKED_BLOCK]).astype(np.float64)
                found = product(Y, X.T)
                found += np.einsum("pd,pd->p", Y, Y)[:, None]
                np.minimum(into, found.min(axis=0) + norms, out=into)
    distances: Doubles = np.sqrt(sq)
    return distances


def _oddness(near: Doubles, columns: Indices, row_unit: Indices, out: NDArray[np.bool_]) -> Doubles:
    """How far each row lies from the k-th nearest group that is not its own, float64 (M,); 0 for rows taken away."""
    others = np.flatnonzero(~out[columns])
    to = near[:, others]
    to[row_unit[:, None] == columns[others]] = np.inf
    k = min(ceil(NEIGHBOURS * len(others)), len(others) - 1)
    oddness: Doubles = np.partition(to, k - 1, axis=1)[:, k - 1]
    oddness[out[row_unit]] = 0
    return oddness


def _scores(
    oddness: Doubles,
    near: Doubles,
    columns: Indices,
    row_unit: Indices,
    everywhere: dict[int, Doubles],
    units: int,
) -> Doubles:
    """The largest oddness that each group is sure to have, float64 (units,)."""
    scores = np.zeros(units)
    scores[columns] = np.maximum((oddness[:, None] - near).max(axis=0), 0)
    for row, distances in everywhere.items():
        np.maximum(scores, oddness[row] - distances, out=scores)
    np.maximum.at(scores, row_unit, oddness)
    return scores


def _bar(scores: Doubles) -> float:
    ordered = np.sort(scores)
    low, middle = (float(ordered[int(share * len(ordered))]) for share in (LOW, MIDDLE))
    if low <= 0:
        return np.inf if middle <= 0 else middle * LEAST_RATIO**4
    ratio = middle / low
    return middle * max(LEAST_RATIO, ratio * ratio * ratio * ratio)
