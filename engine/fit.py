"""From good images to generation 1 of a memory bank: embeddings, scale, coreset, calibration.

Images stream: each is read once, brought to the recipe's size and embedded; its embeddings go to a memory-mapped file,
held-out images to another until the bank is there. So memory does not grow with the number of images.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.backbone import FeatureExtractor, Runtime, load_backbone
from engine.calibration import calibrate, check_promise
from engine.coreset import Coreset, greedy_coreset
from engine.device import resolve_device
from engine.embeddings import EmbeddingFile
from engine.errors import CalibrationError, EngineError
from engine.generation_events import StoredFrame
from engine.held_out import draw_held_out
from engine.inspection import Image
from engine.judge import score_bands
from engine.memory_bank import FrameOrigin, MemoryBank
from engine.preprocess import prepare
from engine.quantise import Rows, dequantise, quantise
from engine.read_ahead import read_ahead
from engine.recipe import Recipe
from engine.recipe_check import check_projection, check_recipe
from engine.scoring import Scorer
from engine.search import make_search
from engine.spool import ImageSpool
from engine.tiling import TiledExtractor

NamedImage: TypeAlias = tuple[str, Image]
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done and how much there is."""
Keep: TypeAlias = Callable[[str, Rows], StoredFrame]
"""Stores a frame's patch embeddings, int16 (P, D), under its name."""
BATCH = 8
"""Images embedded together; tiled ones, which are large, go alone."""


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
    """The calibration frames as they were kept; without them the bank cannot learn."""


def fit(
    images: Iterable[NamedImage],
    recipe: Recipe,
    *,
    calibration: Iterable[NamedImage] | None = None,
    device: str = "auto",
    runtime: Runtime = "auto",
    progress: Progress | None = None,
    created: str = "",
    scratch: Path | None = None,
    keep: Keep | None = None,
) -> FitReport:
    """Fit a memory bank to images of good parts.

    The same images, recipe and seed give the same bank on the same machine. A fit on 20,000 images takes the memory of
    one on 200, but for some 25 bytes a patch; the embeddings need 2 bytes a value on disk.

    Args:
        images: (name, RGB uint8 (H, W, 3)) of good parts, at any size; read once, on a thread of its own. Where they
            have no length, their pixels go through a temporary file first: which ones are held out hangs on it.
        recipe: how they are inspected.
        calibration: further good images, for the threshold alone. Without them `fit` holds some of `images` out.
        device: `auto`, `cpu` or `cuda[:N]`.
        runtime: what runs the backbone on a CPU.
        progress: called as the stages `read`, `embed`, `coreset` and `calibrate` go on.
        created: when, in ISO 8601, for the manifest.
        keep: stores the calibration frames' patch embeddings, so that the bank can learn (`GenerationStore.keep`).
        scratch: folder for temporary files, on a disk and not in memory; the system's where none is named.

    Raises:
        CalibrationError: the good images cannot promise the recipe's false-reject rate.
        EngineError: the temporary files do not fit on the disk.
        RecipeError, WeightsError, DeviceError, ImageError: as their names say.
    """
    check_recipe(recipe)
    extractor = load_backbone(recipe.backbone, resolve_device(device), runtime)
    work = _Work(recipe, extractor, TiledExtractor(recipe, extractor), progress or _silent)
    with ExitStack() as files:
        folder = Path(files.enter_context(TemporaryDirectory(prefix="patchline-fit-", dir=scratch)))
        held_out = files.enter_context(ImageSpool(folder / "held-out", recipe.image_size_px))
        if calibration is not None:
            work.spool(calibration, held_out)
            check_promise(len(held_out), recipe.false_reject_rate)
        if not isinstance(images, Sized):
            everything = files.enter_context(ImageSpool(folder / "images", recipe.image_size_px))
            work.spool(images, everything)
            images = everything
        total = len(images)
        drawn = draw_held_out(total, recipe) if calibration is None else frozenset[int]()
        if total == len(drawn):
            raise CalibrationError(f"recipe {recipe.name!r}: no good images were left to fit the bank to")
        embedded = work.embed(images, total, drawn, held_out, files, folder)
        vectors, scale, grid = embedded.file.rows(), embedded.file.scale, embedded.grid
        coreset = work.choose(vectors, scale)
        rows = np.ascontiguousarray(vectors[coreset.indices])
        scores, kept = work.scores(held_out, rows, scale, keep)
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
        calibration=calibrate(scores, recipe.false_reject_rate),
        created=created,
    )
    return FitReport(
        bank=bank,
        rows=len(rows),
        patches=len(embedded.names) * patches_per_frame,
        radius=bank.covering_radius,
        threshold=bank.threshold,
        promise=bank.calibration.promise,
        seconds=work.seconds,
        calibration=kept,
    )


@dataclass(slots=True)
class _Embedded:
    """Patch embeddings on file, the patch grid, and the images that they came from, in order."""

    file: EmbeddingFile
    grid: tuple[int, int]
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Work:
    """One fit's stages: what they share, how far they are and how long they took."""

    recipe: Recipe
    extractor: FeatureExtractor
    tiled: TiledExtractor
    report: Progress
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "embed"), 0.0))

    @property
    def batch(self) -> int:
        """How many images are embedded together."""
        if self.recipe.tiling is not None:
            return 1
        return max(BATCH, self.extractor.together(self.recipe.image_size_px))

    def spool(self, images: Iterable[NamedImage], spool: ImageSpool) -> None:
        """Read images and put them by."""
        total = len(images) if isinstance(images, Sized) else 0
        for name, image in self.prepared(images, total):
            spool.append(name, image)

    def prepared(self, images: Iterable[NamedImage], total: int) -> Iterator[NamedImage]:
        """Images at the recipe's size, read ahead on another thread."""
        ahead = read_ahead((name, prepare(image, self.recipe.image_size_px)) for name, image in images)
        done = 0
        while True:
            with self.timed("read"):
                item = next(ahead, None)
            if item is None:
                return
            done += 1
            self.report("read", done, max(total, done))
            yield item

    def embed(
        self,
        images: Iterable[NamedImage],
        total: int,
        drawn: frozenset[int],
        held_out: ImageSpool,
        files: ExitStack,
        folder: Path,
    ) -> _Embedded:
        """Embed the images whose positions were not drawn, onto a file that `files` will close; the others go to
        `held_out`.
        """
        grid = self.tiled.grid
        result: _Embedded | None = None
        batch: list[NamedImage] = []
        wanted, seen = total - len(drawn), 0
        for position, (name, image) in enumerate(self.prepared(images, total)):
            seen += 1
            if position in drawn:
                held_out.append(name, image)
            else:
                batch.append((name, image))
            if not batch or (len(batch) < self.batch and seen < total):
                continue
            with self.timed("embed"):
                for bands in self.embeddings([image for _, image in batch]):
                    for band in bands:
                        if result is None:
                            check_projection(self.recipe, band.shape[1])
                            _check_room(folder, wanted * grid[0] * grid[1] * band.shape[1] * 2)
                            file = files.enter_context(EmbeddingFile(folder / "embeddings", band.shape[1]))
                            result = _Embedded(file, grid)
                        result.file.append(band)
            assert result is not None  # noqa: S101 - the batch held an image
            result.names += [name for name, _ in batch]
            batch.clear()
            self.report("embed", len(result.names), wanted)
        if result is None or seen != total:
            raise EngineError(f"images: {total} were announced, {seen} came")
        return result

    def embeddings(self, images: Sequence[Image]) -> Iterator[Iterable[NDArray[np.float32]]]:
        """Of each image, its patch embeddings in bands: tiled images go alone, others as one batch."""
        if self.recipe.tiling is None:
            yield from ((values,) for values in self.extractor.embed(images, self.tiled.options)[0].cpu().numpy())
        else:
            yield from ((band.cpu().numpy() for band in self.tiled.bands(image)) for image in images)

    def choose(self, vectors: Rows, scale: float) -> Coreset:
        """The coreset of all patches, int16 (N, D)."""
        with self.timed("coreset"):
            return greedy_coreset(
                vectors,
                max(1, round(self.recipe.coreset_fraction * len(vectors))),
                seed=self.recipe.seed,
                scale=scale,
                projection=self.recipe.projection,
                device=str(self.extractor.device),
                progress=lambda done, total: self.report("coreset", done, total),
            )

    def scores(
        self, images: ImageSpool, stored: Rows, scale: float, keep: Keep | None
    ) -> tuple[NDArray[np.float64], tuple[StoredFrame, ...]]:
        """Anomaly scores of held-out good images, float64 (n,), as the inspector gives them; the images as kept."""
        with self.timed("calibrate"):
            rows = dequantise(stored, scale)
            index = make_search("auto", rows, str(self.extractor.device))
            scorer = Scorer(rows, index, self.recipe.neighbours, self.recipe.score_patches)
            scores: list[float] = []
            kept: list[StoredFrame] = []
            for batch in _batches(images, self.batch):
                for (name, _), bands in zip(batch, self.embeddings([i for _, i in batch]), strict=True):
                    patches: list[Rows] = []
                    seen = bands if keep is None else _stored(bands, scale, patches)
                    scores.append(score_bands(index, scorer, seen)[0].value)
                    if keep is not None:
                        kept.append(keep(name, np.concatenate(patches)))
                self.report("calibrate", len(scores), len(images))
        return np.array(scores), tuple(kept)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add to the stage's seconds."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _stored(bands: Iterable[NDArray[np.float32]], scale: float, to: list[Rows]) -> Iterator[NDArray[np.float32]]:
    """The same bands; as a bank stores them they are appended to `to`."""
    for band in bands:
        to.append(quantise(band, scale))
        yield band


def _check_room(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise EngineError(
            f"{folder.parent}: the patch embeddings of the fit need {needed_bytes / 1e9:.3g} GB there, "
            f"{free_bytes / 1e9:.3g} GB are free; name another folder for temporary files"
        )


def _batches(images: Iterable[NamedImage], size: int) -> Iterator[Sequence[NamedImage]]:
    iterator = iter(images)
    while batch := list(islice(iterator, size)):
        yield batch


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody follows."""
