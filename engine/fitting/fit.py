"""From good images to generation 1 of a memory bank: embeddings, scale, coresets of the folds, calibration.

Images stream: each is read once, brought to the recipe's size and embedded; its embeddings go to the memory-mapped file
of its fold. The coresets of the folds together are the bank, and each image is scored by the rows of the other folds.
So every image gives rows, every image carries the threshold, and memory does not grow with the number of images.
"""

from collections.abc import Callable, Collection, Iterable, Sequence, Sized
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
from msgspec import structs

from patchline.engine.bank.calibration import Calibration, calibrate
from patchline.engine.bank.events import StoredFrame
from patchline.engine.bank.figures import Figures, figures_of, proved_rate, why_unproved
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank, SetAside
from patchline.engine.errors import EngineError, PrecisionError
from patchline.engine.features.extractor import Runtime, load_backbone
from patchline.engine.features.quantisation import processor
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.fitting.chosen import ALL, Chosen, stay
from patchline.engine.fitting.folds import Plan, plan_folds, plan_split
from patchline.engine.fitting.numbering import numbered
from patchline.engine.fitting.oddest import OddImage, oddest
from patchline.engine.fitting.precision import (
    PrecisionCheck,
    compare,
    in_float32,
    observe,
    score_in_float32,
    speed_over,
    spread_evenly,
)
from patchline.engine.fitting.reading import NamedImage, Reading, StageProgress, refuse_the_same
from patchline.engine.fitting.scratch import ImageSpool, KeptPatches
from patchline.engine.fitting.setting_aside import settle
from patchline.engine.fitting.stages import EmbeddedImages, FitStages, ignore_progress
from patchline.engine.fitting.union import Union, score_by_other_folds, union_of
from patchline.engine.numerics.compiled import load_ahead
from patchline.engine.numerics.device import Precision, resolve_device
from patchline.engine.recipe import Recipe, check_recipe
from patchline.engine.types import Doubles, Rows

Keep: TypeAlias = Callable[[str, Rows], StoredFrame]
"""Stores a frame's patch embeddings, int16 (P, D), under its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What a fit made: the bank and its vital figures. `promise` is a sentence, `figures` are what it rests on, with
    the rate that was asked for; `seconds` are by stage.
    """

    bank: MemoryBank
    rows: int
    patches: int
    radius: float
    threshold: float
    promise: str
    figures: Figures
    seconds: dict[str, float]
    calibration: tuple[StoredFrame, ...] = ()
    """The calibration frames as `keep` has stored them; empty where they stay with the bank."""
    precision: PrecisionCheck | None = None
    """What the recipe's precision does to scores, measured beside float32; None for float32."""
    oddest: tuple[OddImage, ...] = ()
    """The images to look at first, by their held-out scores; none where the fit has one fold."""
    left_out: tuple[str, ...] = ()
    """Images that looked contaminated and were left out of the fit, as it was asked to."""


def fit(
    images: Iterable[NamedImage],
    recipe: Recipe,
    *,
    groups: Sequence[int] | None = None,
    calibration: Iterable[NamedImage] | None = None,
    calibration_groups: Sequence[int] | None = None,
    device: str = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    progress: StageProgress | None = None,
    created: str = "",
    scratch: Path | None = None,
    keep: Keep | None = None,
    exclude: Collection[str] = (),
    trusted: Collection[str] = (),
) -> FitReport:
    """Fit a memory bank to images of good parts.

    The same images, recipe and seed give the same bank on the same machine. A fit on 20,000 images takes the memory of
    one on 200, but for the bank itself and 16 bytes a patch of a fold; the embeddings need 2 bytes a value on disk.
    Once `save_bank` has stored it, the bank can learn: the calibration frames' embeddings, from which every later
    threshold follows, are stored with it.

    Images are dealt into five folds, or as many as there are groups. Where they are too few for the recipe's
    false-reject rate, the lowest that they can aim at is taken: the bank's recipe states it, and `FitReport.figures`
    has both.

    Images that look contaminated (`fitting.contamination`) are set aside: they give no rows, and count as above the
    threshold, until a person says that they are good or not. With `calibration` nothing is: no image that gives rows
    has a score by rows that do not know it, and what is for the threshold alone is taken as good.

    A recipe whose backbone states less than float32 is fitted in it, and beside it in float32 for the rows alone: what
    the precision does to the scores of good images is measured (`fitting.precision`), and refused beyond a margin.

    Args:
        images: (name, RGB uint8 (H, W, 3)) of good parts, at any size; read once, on a thread of its own. Where they
            have no length, or are needed twice (for a precision, or to be compared with images for calibration), their
            pixels go through a temporary file first.
        recipe: how they are inspected.
        groups: the group of each image, any numbers: copies of one part stay together in a fold, and weigh as one image
            in the threshold. Each image is its own group where it is None.
        calibration: further good images, for the threshold alone; no row is then passed over for any of them.
        calibration_groups: the group of each of these; each its own where it is None.
        device: `auto`, `cpu` or `cuda[:N]`.
        runtime: what runs the backbone on a CPU.
        precision: how the device computes what the recipe states in float32.
        progress: called as the stages `read`, `embed`, `coreset` and `calibrate` go on, and `measure` of a precision.
        created: when, in ISO 8601, for the manifest.
        scratch: folder for temporary files, on a disk and not in memory; the system's where none is named.
        keep: stores the calibration frames' patch embeddings at once, as `GenerationStore.keep` does, and the report
            names what it has stored. By default they wait with the bank (`MemoryBank.calibration_patches`), on a
            temporary file that lasts as long as it does, for `save_bank` to store them.
        exclude: names of images that leave the fit before anything is dealt; `all` are those that look contaminated,
            and the bank is then fitted to the others, at the scale of all.
        trusted: names of images that are good, and never set aside; `all` are all.

    Returns:
        The bank, which is generation 1, and its vital figures.

    Raises:
        CalibrationError: there are no images, one group alone, or images of the fit among those for calibration; before
            a backbone is loaded.
        PrecisionError: in the recipe's precision a held-out score moves farther than the margin.
        EngineError: the temporary files do not fit on the disk, the groups are not one an image, or a name to exclude
            or to trust is that of no image, or in both.
        RecipeError, WeightsError, DeviceError, ImageError: as their names say.

    Example:
        Sixteen noisy images stand in for photographs of good parts:

        >>> import numpy as np
        >>> from patchline.engine import Recipe, fit, preset
        >>> rng = np.random.default_rng(0)
        >>> good = [(f"part-{n}", rng.integers(90, 110, (64, 64, 3), dtype=np.uint8)) for n in range(16)]
        >>> recipe = Recipe(
        ...     name="part", backbone=preset("efficientnet_lite0"), image_size_px=(64, 64), least_rows=100
        ... )
        >>> report = fit(good, recipe, device="cpu")
        >>> report.bank.generation, report.bank.grid, report.patches
        (1, (8, 8), 1024)
        >>> report.rows  # 1 % of the patches would be 10
        100
        >>> report.figures.asked, report.figures.aimed  # 16 images can aim at 1 in 17
        (0.05, 0.0589)
    """
    check_recipe(recipe)
    lower = recipe.backbone.precision != "float32"
    processor.check(recipe.backbone, resolve_device(device), runtime, precision)
    reading = Reading(recipe, progress or ignore_progress)
    load_ahead()  # the coreset's loops, while images are read

    def stages(of: Recipe) -> FitStages:
        extractor = load_backbone(of.backbone, resolve_device(device), runtime, precision)
        return FitStages(of, extractor, TiledExtractor(of, extractor), reading)

    with ExitStack() as files:
        folder = Path(files.enter_context(TemporaryDirectory(prefix="patchline-fit-", dir=scratch)))
        held_out = files.enter_context(ImageSpool(folder / "held-out", recipe.image_size_px))
        everything = files.enter_context(ImageSpool(folder / "images", recipe.image_size_px))
        kept = files.enter_context(closing(KeptPatches(scratch)))
        if calibration is not None:
            reading.spool(calibration, held_out)
        source: ImageSpool | Chosen = everything
        if lower or calibration is not None or exclude or trusted or not isinstance(images, Sized):
            reading.spool(images, everything)
            images = everything
        of_each = _each_its_own(groups, len(images), "groups")
        if exclude or trusted:
            left = stay(everything.names, exclude, trusted)
            images = source = Chosen(everything, left)
            of_each = _each_its_own([of_each[position] for position in left], len(left), "groups")
        if calibration is None:
            plan = plan_folds(of_each, recipe)
        else:
            of_each = _each_its_own(calibration_groups, len(held_out), "calibration_groups")
            plan = plan_split(len(images), of_each, recipe)
            refuse_the_same(recipe, source, held_out)
        work = float32 = stages(in_float32(recipe))
        if lower:
            if recipe.backbone.precision == "int8" and not recipe.backbone.ranges:
                looked_at = spread_evenly(range(len(source)))
                recipe = observe(recipe, (im for p, (_, im) in enumerate(source) if p in looked_at), float32)
            work = stages(recipe)
        embedded = work.embed(images, plan, len(plan.groups), files, folder)
        settled = settle(
            work, recipe, plan, embedded, files, folder, leave_out=ALL in exclude, trusted=frozenset(trusted)
        )
        plan, embedded, source = settled.plan, settled.embedded, Chosen(source, settled.stay)
        asked, recipe = recipe.false_reject_rate, structs.replace(recipe, false_reject_rate=plan.rate)
        union = union_of(embedded, settled.coresets)
        stored: list[StoredFrame] = []

        def put_by(name: str, patches: Rows) -> None:
            if keep is None or lower:
                kept.keep(name, patches)
            else:
                stored.append(keep(name, patches))

        odd: tuple[OddImage, ...] = ()
        if plan.folds == 1:
            scores = np.array(work.scores(held_out, len(held_out), union.rows, embedded.scale, put_by))
        else:
            scores = score_by_other_folds(embedded, union, plan, plan.calibrated, reading, put_by)
            all_scores = [scores, score_by_other_folds(settled.everything, union, plan, plan.set_aside, reading)]
            positions = (*plan.calibrated, *plan.set_aside)
            odd = oddest(settled.everything, union, plan, positions, np.concatenate(all_scores), recipe)
        unproved = _unproved(recipe, plan) if plan.folds > 1 else ""
        calibrated = _calibrated(scores, plan, unproved)
        check = None
        if lower:
            in_full = score_in_float32(float32, source, held_out, union, plan)
            speed = speed_over(float32, work, next(image for _, image in source))
            groups_of = np.array(plan.groups, dtype=np.int32)
            check = compare(recipe, scores, in_full, speed, groups_of, plan.counted_groups)
            if not check.holds:
                raise PrecisionError(f"recipe {recipe.name!r}: {check}; expected a fit in float32")
        calibration_patches = kept.frames()
        if lower and keep is not None:  # only now, as a store keeps nothing of a precision that does not hold
            stored += [keep(name, patches) for name, patches in calibration_patches]
            calibration_patches = ()
        bank = replace(
            _bank(recipe, embedded, union, plan, calibrated), created=created, calibration_patches=calibration_patches
        )
    return FitReport(
        bank=bank,
        rows=len(bank.rows),
        patches=sum(len(of_fold) for of_fold in embedded.positions) * embedded.grid[0] * embedded.grid[1],
        radius=bank.covering_radius,
        threshold=bank.threshold,
        promise=bank.promise,
        figures=figures_of(bank.calibration, asked=asked, folds=plan.folds, unproved=unproved),
        seconds=reading.seconds,
        calibration=tuple(stored),
        precision=check,
        oddest=odd,
        left_out=settled.left_out,
    )


def _each_its_own(groups: Sequence[int] | None, count: int, argument: str) -> Sequence[int]:
    """Group numbers from 0 up in the order in which groups come; raises EngineError for another number of them."""
    if groups is None:
        return range(count)
    if len(groups) != count:
        raise EngineError(f"{argument}: found {len(groups)}, expected one for each of {count} images")
    return numbered(groups)


def _calibrated(scores: Doubles, plan: Plan, unproved: str) -> Calibration:
    proved = None if plan.folds == 1 or unproved else proved_rate(plan.rate, len(plan.fold_of), plan.folds)
    return calibrate(scores, plan.rate, np.array(plan.groups, dtype=np.int32), proved, plan.counted_groups)


def _unproved(recipe: Recipe, plan: Plan) -> str:
    return why_unproved(recipe, plan.fold_sizes, plan.group_count, len(plan.groups), len(plan.set_aside))


def _bank(recipe: Recipe, embedded: EmbeddedImages, union: Union, plan: Plan, calibration: Calibration) -> MemoryBank:
    """Generation 1, of these rows and this threshold."""
    by_folds = plan.folds > 1
    used, row_frame = np.unique(union.position, return_inverse=True)
    return MemoryBank(
        recipe=recipe,
        generation=1,
        rows=union.rows,
        scale=embedded.scale,
        frames=tuple(
            FrameOrigin(name=embedded.names[position], fold=plan.fold_of[position] if by_folds else None)
            for position in used.tolist()
        ),
        row_frame=row_frame.astype(np.int32),
        row_patch=union.patch.astype(np.int32),
        grid=embedded.grid,
        covering_radius=union.radius,
        calibration=calibration,
        folds=plan.folds,
        fold_radius=union.fold_radius if by_folds else None,
        calibration_folds=tuple(plan.fold_of[position] for position in plan.calibrated),
        calibration_groups=plan.groups if len(set(plan.groups)) < len(plan.groups) else (),
        set_aside=tuple(
            SetAside(name=embedded.names[position], group=plan.group_of[position], counts=position in plan.counted)
            for position in plan.set_aside
        ),
    )
