"""Images that look contaminated give no rows: set aside, or left out of the fit where that was asked for.

`fitting.contamination` says which they are. To set them aside, the coresets of their folds are chosen again without
their patches, in the same folds: the bank is the union of the coresets of the images that stay. To leave them out, the
others are dealt anew, as if they alone had been given, and looked at again, until nothing more is found; only the scale
of the stored integers stays that of all images.
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from patchline.engine.coreset.greedy import Coreset
from patchline.engine.fitting.chosen import ALL
from patchline.engine.fitting.contamination import contaminated
from patchline.engine.fitting.folds import Plan, plan_folds
from patchline.engine.fitting.numbering import numbered
from patchline.engine.fitting.stages import EmbeddedImages, FitStages
from patchline.engine.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a fit goes on with, once it is known which images give rows.

    `everything` are all images that count, `embedded` those that give rows, and `coresets` are of the latter. `stay`
    are the positions, among the images given, of what `plan` numbers from 0; `left_out` the names of the others.
    """

    plan: Plan
    everything: EmbeddedImages
    embedded: EmbeddedImages
    coresets: list[Coreset]
    stay: Sequence[int]
    left_out: tuple[str, ...]


def settle(
    work: FitStages,
    recipe: Recipe,
    plan: Plan,
    embedded: EmbeddedImages,
    files: ExitStack,
    folder: Path,
    *,
    leave_out: bool,
    trusted: Collection[str],
) -> Settled:
    """Choose the coresets, and choose them again without what looks contaminated.

    Args:
        work: the stages of the fit.
        recipe: with the false-reject rate that was asked for.
        plan: of all images; where it has one fold, nothing is looked for.
        embedded: all images.
        files: closes temporary files.
        folder: where they are made.
        leave_out: whether what is found leaves the fit, and counts no more.
        trusted: names of images that are good, whatever they look like; or `all`.

    Raises:
        CalibrationError: one group alone is left.
    """
    stay: Sequence[int] = range(len(plan.fold_of))
    left_out: list[str] = []
    coresets = work.choose(embedded, folder / "coresets")
    while plan.folds > 1 and ALL not in trusted:
        good = {position for position, name in enumerate(embedded.names) if name in trusted}
        with work.reading.timed("look first"):
            found = contaminated(embedded, coresets, plan, good)
        if not found:
            break
        if not leave_out:
            left = embedded.without(found, files, folder)
            return Settled(
                plan=plan.without(found),
                everything=embedded,
                embedded=left,
                coresets=work.choose(left, folder / "coresets-left", coresets, embedded),
                stay=stay,
                left_out=(),
            )
        others = [position for position in range(len(plan.fold_of)) if position not in found]
        left_out += [embedded.names[position] for position in sorted(found)]
        plan = plan_folds(numbered(plan.group_of[position] for position in others), recipe)
        again = folder / f"dealt-{len(left_out)}"
        again.mkdir()
        embedded = embedded.dealt(others, plan, files, again)
        stay = [stay[position] for position in others]
        coresets = work.choose(embedded, again / "coresets")
    return Settled(
        plan=plan, everything=embedded, embedded=embedded, coresets=coresets, stay=stay, left_out=tuple(left_out)
    )
