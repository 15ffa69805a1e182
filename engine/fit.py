"""From good images to generation 1 of a memory bank: embeddings, scale, coreset, calibration."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from tempfile import TemporaryFile
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.backbone import FeatureExtractor, load_backbone
from engine.calibration import calibrate, check_promise, frames_needed
from engine.coreset import Coreset, greedy_coreset
from engine.device import resolve_device
from engine.errors import CalibrationError, RecipeError
from engine.inspection import Image
from engine.memory_bank import FrameOrigin, MemoryBank
from engine.preprocess import prepare
from engine.quantise import Rows, dequantise, quantise, scale_for
from engine.recipe import Recipe
from engine.scoring import Scorer
from engine.search import make_search

NamedImage: TypeAlias = tuple[str, Image]
Loader: TypeAlias = Callable[[], Image]
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done and how much there is."""
BATCH = 8
HELD_OUT_AT_LEAST = 0.2
HELD_OUT_AT_MOST = 0.5
"""Share of the good images that `fit` may hold out of the bank by itself."""


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


def fit(
    images: Iterable[NamedImage],
    recipe: Recipe,
    *,
    calibration: Iterable[NamedImage] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    created: str = "",
) -> FitReport:
    """Fit a memory bank to images of good parts.

    The same images, recipe and seed give the same bank on the same machine.

    Args:
        images: (name, RGB uint8 (H, W, 3)) of good parts, at any size; read once and held at the recipe's size only.
        recipe: how they are inspected.
        calibration: further good images, for the threshold alone. Without them `fit` holds some of `images` out, drawn
            by the recipe's seed: as many as the false-reject rate needs and at least a fifth, but at most half.
        device: `auto`, `cpu` or `cuda[:N]`.
        progress: called as the stages `read`, `embed`, `coreset` and `calibrate` go on.
        created: when, in ISO 8601, for the manifest.

    Raises:
        CalibrationError: the good images cannot promise the recipe's false-reject rate.
        RecipeError, WeightsError, DeviceError, ImageError: as their names say.
    """
    report = progress or _silent
    seconds: dict[str, float] = {}
    check_recipe(recipe)
    extractor = load_backbone(recipe.backbone, resolve_device(device))
    with _timed(seconds, "read"):
        fitted = _read(images, recipe, report)
        held_out = _read(calibration, recipe, report) if calibration is not None else None
    if held_out is None:
        fitted, held_out = split(fitted, recipe)
    else:
        check_promise(len(held_out), recipe.false_reject_rate)
    if not fitted:
        raise CalibrationError(f"recipe {recipe.name!r}: no good images were left to fit the bank to")
    with _timed(seconds, "embed"):
        vectors, scale, grid = _embed(extractor, fitted, report)
    with _timed(seconds, "coreset"):
        coreset = _choose(vectors, scale, recipe, extractor, report)
    rows = np.ascontiguousarray(vectors[coreset.indices])
    with _timed(seconds, "calibrate"):
        scores = _scores(extractor, held_out, dequantise(rows, scale), recipe, report)
    patches_per_frame = grid[0] * grid[1]
    used, row_frame = np.unique(coreset.indices // patches_per_frame, return_inverse=True)
    bank = MemoryBank(
        recipe=recipe,
        generation=1,
        rows=rows,
        scale=scale,
        frames=tuple(FrameOrigin(name=fitted[frame][0]) for frame in used),
        row_frame=row_frame.astype(np.int32),
        row_patch=(coreset.indices % patches_per_frame).astype(np.int32),
        grid=grid,
        covering_radius=coreset.radius,
        calibration=calibrate(scores, recipe.false_reject_rate),
        created=created,
    )
    return FitReport(
        bank=bank,
        rows=len(rows),
        patches=len(vectors),
        radius=bank.covering_radius,
        threshold=bank.threshold,
        promise=bank.calibration.promise,
        seconds=seconds,
    )


def split(images: Sequence[NamedImage], recipe: Recipe) -> tuple[list[NamedImage], list[NamedImage]]:
    """Hold good images out of the fit for calibration, drawn by the recipe's seed: (to fit, held out).

    Raises:
        CalibrationError: the rate needs more than half of the images.
    """
    total = len(images)
    most = int(total * HELD_OUT_AT_MOST)
    needed = frames_needed(recipe.false_reject_rate)
    if needed > most:
        can = f"at most {most} of {total} good images are held out for calibration; "
        try:
            check_promise(most, recipe.false_reject_rate)
        except CalibrationError as error:
            raise CalibrationError(f"recipe {recipe.name!r}: {can}{error}") from None
    count = max(needed, round(total * HELD_OUT_AT_LEAST))
    drawn = set(np.random.default_rng(recipe.seed).permutation(total)[:count].tolist())
    return (
        [image for position, image in enumerate(images) if position not in drawn],
        [image for position, image in enumerate(images) if position in drawn],
    )


def check_recipe(recipe: Recipe) -> None:
    """Raise RecipeError where a recipe asks for what cannot be."""
    name = f"recipe {recipe.name!r}"
    if not 0 < recipe.coreset_fraction <= 1:
        raise RecipeError(f"{name}: coreset_fraction is {recipe.coreset_fraction:g}, expected more than 0, at most 1")
    if recipe.neighbours < 1:
        raise RecipeError(f"{name}: neighbours is {recipe.neighbours}, expected 1 or more")
    if recipe.smoothing_sigma < 0:
        raise RecipeError(f"{name}: smoothing_sigma is {recipe.smoothing_sigma:g}, expected 0 or more")
    if min(recipe.image_size_px) < 32:
        raise RecipeError(f"{name}: image_size_px is {recipe.image_size_px}, expected (H, W) of 32 or more each")
    if not 0 < recipe.false_reject_rate < 1:
        raise RecipeError(f"{name}: false_reject_rate is {recipe.false_reject_rate:g}, expected between 0 and 1")


def _read(images: Iterable[NamedImage], recipe: Recipe, report: Progress) -> list[NamedImage]:
    total = len(images) if isinstance(images, Sequence) else 0
    prepared = []
    for done, (name, image) in enumerate(images, start=1):
        prepared.append((name, prepare(image, recipe.image_size_px)))
        report("read", done, max(total, done))
    return prepared


def _embed(
    extractor: FeatureExtractor, images: Sequence[NamedImage], report: Progress
) -> tuple[Rows, float, tuple[int, int]]:
    """All patches of all images as int16 (N, D) in a file that goes with the array, their scale and the grid."""
    grid = extractor.grid(images[0][1].shape[:2])
    patches = grid[0] * grid[1]
    scale = 0.0
    vectors: Rows | None = None
    done = 0
    for batch in _batches(images):
        values = extractor.embed([image for _, image in batch])[0].cpu().numpy()
        flat = values.reshape(-1, values.shape[2])  # (B, P, D) -> (B*P, D)
        if vectors is None:
            with TemporaryFile() as file:
                vectors = np.memmap(file, dtype=np.int16, mode="w+", shape=(len(images) * patches, flat.shape[1]))
        wanted = scale_for(float(np.abs(flat).max()))
        if wanted > scale:
            if scale:
                _rescale(vectors[: done * patches], wanted / scale)
            scale = wanted
        vectors[done * patches : done * patches + len(flat)] = quantise(flat, scale)
        done += len(batch)
        report("embed", done, len(images))
    assert vectors is not None  # noqa: S101 - `fit` refuses an empty set of images
    return vectors, scale, grid


def _rescale(vectors: Rows, factor: float) -> None:
    """Store the same values at a scale `factor` times larger, a power of two."""
    for start in range(0, len(vectors), 65536):
        block = vectors[start : start + 65536]
        block[:] = np.rint(block / factor).astype(np.int16)


def _choose(vectors: Rows, scale: float, recipe: Recipe, extractor: FeatureExtractor, report: Progress) -> Coreset:
    count = max(1, round(recipe.coreset_fraction * len(vectors)))
    return greedy_coreset(
        vectors,
        count,
        seed=recipe.seed,
        scale=scale,
        device=str(extractor.device),
        progress=lambda done, total: report("coreset", done, total),
    )


def _scores(
    extractor: FeatureExtractor,
    images: Sequence[NamedImage],
    rows: NDArray[np.float32],
    recipe: Recipe,
    report: Progress,
) -> NDArray[np.float64]:
    """Anomaly scores of held-out good images, float64 (n,), as the inspector gives them."""
    index = make_search("auto", rows, str(extractor.device))
    scorer = Scorer(rows, index, recipe.neighbours)
    scores: list[float] = []
    for batch in _batches(images):
        for embeddings in extractor.embed([image for _, image in batch])[0].cpu().numpy():
            distances, nearest = index.search(embeddings, 1)
            scores.append(scorer.score(embeddings, distances[:, 0], nearest[:, 0]).value)
        report("calibrate", len(scores), len(images))
    return np.array(scores)


def _batches(images: Sequence[NamedImage]) -> Iterator[list[NamedImage]]:
    iterator = iter(images)
    while batch := list(islice(iterator, BATCH)):
        yield batch


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody follows."""
