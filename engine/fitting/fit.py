"""From good images to generation 1 of a memory bank: embeddings, scale, coreset, calibration.

Images stream: each is read once, brought to the recipe's size and embedded; its embeddings go to a memory-mapped file,
held-out images to another until the bank is there. So memory does not grow with the number of images.
"""

from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np

from patchline.engine.bank.calibration import calibrate, check_promise, draw_held_out
from patchline.engine.bank.events import StoredFrame
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.errors import CalibrationError, EngineError, PrecisionError
from patchline.engine.features.extractor import Runtime, load_backbone
from patchline.engine.features.quantisation import processor
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.fitting.precision import (
    PrecisionCheck,
    compare,
    in_float32,
    observe,
    score_in_float32,
    speed_over,
    spread_evenly,
)
from patchline.engine.fitting.scratch import ImageSpool, KeptPatches
from patchline.engine.fitting.stages import FitStages, NamedImage, StageProgress, ignore_progress
from patchline.engine.numerics.device import Precision, resolve_device
from patchline.engine.recipe import Recipe, check_recipe
from patchline.engine.types import Rows

Keep: TypeAlias = Callable[[str, Rows], StoredFrame]
"""Stores a frame's patch embeddings, int16 (P, D), under its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What a fit made: the bank and its vital figures. `promise` is a sentence; `seconds` are by stage."""

    bank: MemoryBank
    rows: int
    patches: int
    radius: float
    threshold: float
    promise: str
    seconds: dict[str, float]
    calibration: tuple[StoredFrame, ...] = ()
    """The calibration frames as `keep` has stored them; empty where they stay with the bank."""
    precision: PrecisionCheck | None = None
    """What the recipe's precision does to scores, measured beside float32; None for float32."""


def fit(
    images: Iterable[NamedImage],
    recipe: Recipe,
    *,
    groups: Sequence[int] | None = None,
    calibration: Iterable[NamedImage] | None = None,
    device: str = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    progress: StageProgress | None = None,
    created: str = "",
    scratch: Path | None = None,
    keep: Keep | None = None,
) -> FitReport:
    """Fit a memory bank to images of good parts.

    The same images, recipe and seed give the same bank on the same machine. A fit on 20,000 images takes the memory of
    one on 200, but for the bank itself and 16 bytes a patch; the embeddings need 2 bytes a value on disk. Once
    `save_bank` has stored it, the bank can learn: the calibration frames' embeddings, from which every later threshold
    follows, are stored with it.

    A recipe whose backbone states less than float32 is fitted in it, and beside it in float32 for the rows alone: what
    the precision does to the scores of held-out images is measured (`fitting.precision`), and refused beyond a margin.

    Args:
        images: (name, RGB uint8 (H, W, 3)) of good parts, at any size; read once, on a thread of its own. Where they
            have no length, or are embedded twice for the sake of a precision, their pixels go through a temporary file
            first: which ones are held out hangs on their number.
        recipe: how they are inspected.
        groups: the group of each image, any numbers: where one of a group is held out, the others of it are neither
            held out nor fitted. Each image is a group of its own where it is None.
        calibration: further good images, for the threshold alone. Without them `fit` holds some of `images` out.
        device: `auto`, `cpu` or `cuda[:N]`.
        runtime: what runs the backbone on a CPU.
        precision: how the device computes what the recipe states in float32.
        progress: called as the stages `read`, `embed`, `coreset` and `calibrate` go on, and `measure` of a precision.
        created: when, in ISO 8601, for the manifest.
        scratch: folder for temporary files, on a disk and not in memory; the system's where none is named.
        keep: stores the calibration frames' patch embeddings at once, as `GenerationStore.keep` does, and the report
            names what it has stored. By default they wait with the bank (`MemoryBank.calibration_patches`), on a
            temporary file that lasts as long as it does, for `save_bank` to store them.

    Returns:
        The bank, which is generation 1, and its vital figures.

    Raises:
        CalibrationError: the good images cannot promise the recipe's false-reject rate.
        PrecisionError: in the recipe's precision a held-out score moves farther than the margin.
        EngineError: the temporary files do not fit on the disk, or the groups are not one an image.
        RecipeError, WeightsError, DeviceError, ImageError: as their names say.

    Example:
        Sixteen noisy images stand in for photographs of good parts:

        >>> import numpy as np
        >>> from patchline.engine import Recipe, fit, preset
        >>> rng = np.random.default_rng(0)
        >>> good = [(f"part-{n}", rng.integers(90, 110, (64, 64, 3), dtype=np.uint8)) for n in range(16)]
        >>> recipe = Recipe(
        ...     name="part", backbone=preset("efficientnet_lite0"), image_size_px=(64, 64), false_reject_rate=0.2
        ... )
        >>> report = fit(good, recipe, device="cpu")
        >>> report.bank.generation, report.bank.grid, report.patches
        (1, (8, 8), 768)
        >>> report.rows  # 1 % of the patches of 12 images; the other 4 were held out for the threshold
        8
    """
    check_recipe(recipe)
    lower = recipe.backbone.precision != "float32"
    processor.check(recipe.backbone, resolve_device(device), runtime, precision)

    def stages(of: Recipe) -> FitStages:
        extractor = load_backbone(of.backbone, resolve_device(device), runtime, precision)
        return FitStages(of, extractor, TiledExtractor(of, extractor), progress or ignore_progress)

    work = float32 = stages(in_float32(recipe))
    stored: list[StoredFrame] = []
    with ExitStack() as files:
        folder = Path(files.enter_context(TemporaryDirectory(prefix="patchline-fit-", dir=scratch)))
        held_out = files.enter_context(ImageSpool(folder / "held-out", recipe.image_size_px))
        kept = files.enter_context(closing(KeptPatches(scratch)))
        if calibration is not None:
            work.spool(calibration, held_out)
            check_promise(len(held_out), recipe.false_reject_rate)
        if lower or not isinstance(images, Sized):
            everything = files.enter_context(ImageSpool(folder / "images", recipe.image_size_px))
            work.spool(images, everything)
            images = everything
        total = len(images)
        if groups is not None and len(groups) != total:
            raise EngineError(f"groups: found {len(groups)}, expected one for each of {total} images")
        drawn, aside = frozenset[int](), frozenset[int]()
        if calibration is None:
            drawn, aside = draw_held_out(range(total) if groups is None else groups, recipe)
        unfitted = drawn | aside
        if total == len(unfitted):
            raise CalibrationError(f"recipe {recipe.name!r}: no good images were left to fit the bank to")
        if lower:
            if recipe.backbone.precision == "int8" and not recipe.backbone.ranges:
                looked_at = spread_evenly([position for position in range(total) if position not in unfitted])
                recipe = observe(recipe, (im for p, (_, im) in enumerate(images) if p in looked_at), float32)
            work = replace(stages(recipe), seconds=float32.seconds)
        embedded = work.embed(images, total, drawn, aside, held_out, files, folder)
        vectors, scale, grid = embedded.file.rows(), embedded.file.scale, embedded.grid
        coreset = work.choose(vectors, scale, folder)
        rows = np.ascontiguousarray(vectors[coreset.indices])

        def put_by(name: str, patches: Rows) -> None:
            if keep is None or lower:
                kept.keep(name, patches)
            else:
                stored.append(keep(name, patches))

        scores = work.scores(held_out, rows, scale, put_by)
        calibrated = calibrate(scores, recipe.false_reject_rate)
        check = None
        if lower:
            fitted = (image for position, (_, image) in enumerate(images) if position not in unfitted)
            in_full = score_in_float32(float32, fitted, held_out, coreset.indices)
            speed = speed_over(float32, work, next(image for _, image in held_out))
            check = compare(recipe, scores, in_full, speed)
            if not check.holds:
                raise PrecisionError(f"recipe {recipe.name!r}: {check}; expected a fit in float32")
        calibration_patches = kept.frames()
        if lower and keep is not None:  # only now, as a store keeps nothing of a precision that does not hold
            stored += [keep(name, patches) for name, patches in calibration_patches]
            calibration_patches = ()
    patches_per_frame = grid[0] * grid[1]
    used, row_frame = np.unique(coreset.indices // patches_per_frame, return_inverse=True)
    bank = MemoryBank(
        recipe=recipe,
        generation=1,
        rows=rows,
        scale=scale,
        frames=tuple(FrameOrigin(name=embedded.names[frame]) for frame in used),
        row_frame=row_frame.astype(np.int32),
        row_patch=(coreset.indices % patches_per_frame).astype(np.int32),
        grid=grid,
        covering_radius=coreset.radius,
        calibration=calibrated,
        created=created,
        calibration_patches=calibration_patches,
    )
    return FitReport(
        bank=bank,
        rows=len(rows),
        patches=len(embedded.names) * patches_per_frame,
        radius=bank.covering_radius,
        threshold=bank.threshold,
        promise=bank.promise,
        seconds=work.seconds,
        calibration=tuple(stored),
        precision=check,
    )
