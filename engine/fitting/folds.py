"""Which fold each good image is dealt to, whose scores carry the threshold, and the rate that these can aim at.

All of it hangs on the number of images and their groups alone, and is known before any image is read.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from patchline.engine.bank.rates import rate_in_reach
from patchline.engine.coreset.thinning import shared
from patchline.engine.errors import CalibrationError
from patchline.engine.recipe import Recipe

FOLDS = 5
"""Where there are groups enough; each further fold leaves fewer rows in each, and takes no fewer images away."""
MOST_CALIBRATED = 100
"""Images whose scores carry the threshold at most: each is a reference frame of every later update, and a tap has one
second. They can aim at 1 %.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a fit deals its images.

    `fold_of` is each image's fold, 0 to `folds` - 1, by its position. `calibrated` are the positions, ascending, of the
    images whose scores carry the threshold; none where others were given for it. `groups` are the groups of the
    calibrated images, or of those given, `group_of` those of all images that give rows. `rate` is the false-reject rate
    that they aim at. `set_aside` are the positions of images that give no rows, `counted` those of them that would have
    carried the threshold.
    """

    folds: int
    fold_of: tuple[int, ...]
    calibrated: tuple[int, ...]
    groups: tuple[int, ...]
    group_of: tuple[int, ...]
    rate: float
    set_aside: tuple[int, ...] = ()
    counted: tuple[int, ...] = ()

    @property
    def fold_sizes(self) -> list[int]:
        """Images of each fold."""
        return [self.fold_of.count(fold) for fold in range(self.folds)]

    def without(self, positions: Collection[int]) -> "Plan":
        """The same folds with images set aside: whole groups, and not all images that calibrate."""
        aside = set(positions)
        own = [(p, group) for p, group in zip(self.calibrated, self.groups, strict=True) if p not in aside]
        return replace(
            self,
            calibrated=tuple(position for position, _ in own),
            groups=tuple(group for _, group in own),
            set_aside=tuple(sorted(aside)),
            counted=tuple(position for position in self.calibrated if position in aside),
        )

    @property
    def group_count(self) -> int:
        """How many groups give rows, or were set aside."""
        return len(set(self.group_of))

    @property
    def counted_groups(self) -> int:
        """How many groups count as above the threshold."""
        return len({self.group_of[position] for position in self.counted})


def plan_folds(groups: Sequence[int], recipe: Recipe) -> Plan:
    """Deal images into folds, and draw those that calibrate.

    Args:
        groups: of each image, by its position; images of one group go to one fold.
        recipe: its seed, and the rate that is asked for.

    Raises:
        CalibrationError: there are no images, or one group alone.
    """
    name = f"recipe {recipe.name!r}"
    count = len(set(groups))
    if not groups:
        raise CalibrationError(f"{name}: no good images were given")
    if count == 1:
        raise CalibrationError(
            f"{name}: {len(groups)} good images, all of one group: none can be scored without its own rows; expected "
            f"images of two groups or more, or further good images for the threshold alone (--calibration)"
        )
    folds = min(FOLDS, count)
    rng = np.random.default_rng(recipe.seed)
    fold_of = _deal(groups, folds, rng)
    calibrated = _draw(fold_of, folds, rng)
    own_groups = tuple(groups[position] for position in calibrated)
    return Plan(
        folds=folds,
        fold_of=fold_of,
        calibrated=calibrated,
        groups=own_groups,
        group_of=tuple(groups),
        rate=rate_in_reach(len(set(own_groups)), recipe.false_reject_rate),
    )


def plan_split(images: int, calibration_groups: Sequence[int], recipe: Recipe) -> Plan:
    """One fold of all images, where further images carry the threshold.

    Args:
        images: how many give rows.
        calibration_groups: of each image for the threshold.
        recipe: the rate that is asked for.

    Raises:
        CalibrationError: there are no images of one kind or the other.
    """
    if images < 1:
        raise CalibrationError(f"recipe {recipe.name!r}: no good images were left to fit the bank to")
    return Plan(
        folds=1,
        fold_of=(0,) * images,
        calibrated=(),
        groups=tuple(calibration_groups),
        group_of=tuple(range(images)),
        rate=rate_in_reach(len(set(calibration_groups)), recipe.false_reject_rate),
    )


def rows_wanted(patches: int, recipe: Recipe, folds: int) -> int:
    """How many of a fold's patches become rows: the recipe's share, and its part of the least, up to half of them."""
    least = min(-(-recipe.least_rows // folds), patches // 2)
    return max(1, round(recipe.coreset_fraction * patches), least)


def _deal(groups: Sequence[int], folds: int, rng: np.random.Generator) -> tuple[int, ...]:
    """The fold of each image: groups in random order, the large ones first, each to the fold with the fewest images."""
    members: dict[int, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    in_order = list(members.values())
    drawn = [in_order[n] for n in rng.permutation(len(in_order))]
    sizes = [0] * folds
    fold_of = [0] * len(groups)
    for group_members in sorted(drawn, key=len, reverse=True):  # the order of equally large ones stays random
        fold = sizes.index(min(sizes))
        sizes[fold] += len(group_members)
        for position in group_members:
            fold_of[position] = fold
    return tuple(fold_of)


def _draw(fold_of: Sequence[int], folds: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Positions of up to `MOST_CALIBRATED` images, ascending: all of them, or as many of each fold as of the others."""
    if len(fold_of) <= MOST_CALIBRATED:
        return tuple(range(len(fold_of)))
    positions = [np.flatnonzero(np.array(fold_of) == fold) for fold in range(folds)]
    shares = shared(MOST_CALIBRATED, [1] * folds, [len(own) for own in positions])
    drawn = [rng.permutation(own)[:share] for own, share in zip(positions, shares, strict=True)]
    return tuple(np.sort(np.concatenate(drawn)).tolist())
