"""The stages of a fit: images are embedded onto files, rows are chosen fold by fold, good images are scored.

`fitting.fit` calls them in order. `FitStages` holds what they share, and how far they are and how long they took.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.greedy import Coreset, greedy_coreset
from patchline.engine.errors import EngineError
from patchline.engine.features.extractor import FeatureExtractor
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.fitting.folds import Plan, rows_wanted
from patchline.engine.fitting.prefetch import Item
from patchline.engine.fitting.reading import NamedImage, Reading
from patchline.engine.fitting.scratch import EmbeddingFile
from patchline.engine.inspection.judge import score_of
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.numerics.quantise import dequantise, quantise
from patchline.engine.recipe import Recipe, check_projection
from patchline.engine.search.factory import make_search
from patchline.engine.types import Image, Rows

KeepPatches: TypeAlias = Callable[[str, Rows], None]
"""Puts by a frame's patch embeddings, int16 (P, D), under its name."""
BATCH = 8
"""Images embedded together; tiled ones, which are large, go alone."""


@dataclass(slots=True)
class EmbeddedImages:
    """Patch embeddings of each fold on a file of its own, all of one scale, and the patch grid (h, w).

    `names` are all images' in order; `positions` are those of each fold's images in that order.
    """

    files: list[EmbeddingFile]
    grid: tuple[int, int]
    names: list[str] = field(default_factory=list)
    positions: list[list[int]] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """What one unit of the integers stands for."""
        return self.files[0].scale

    def images(self, fold: int) -> Iterator[tuple[int, Rows]]:
        """The images of a fold, in order: position, and patch embeddings, int16 (P, D), memory-mapped."""
        patches = self.files[fold].rows().reshape(len(self.positions[fold]), self.grid[0] * self.grid[1], -1)
        yield from zip(self.positions[fold], patches, strict=True)

    def by_position(self) -> dict[int, Rows]:
        """Each image's patch embeddings, int16 (P, D), memory-mapped, by its position."""
        return dict(image for fold in range(len(self.files)) for image in self.images(fold))

    def without(self, aside: Collection[int], files: ExitStack, folder: Path) -> "EmbeddedImages":
        """The images that stay, each in its fold; the folds that lose none keep their file.

        Args:
            aside: positions of the others.
            files: closes the new files.
            folder: where they are made; it holds none of an earlier call.
        """
        stay = [[position for position in own if position not in aside] for own in self.positions]
        left = list(self.files)
        affected = [of for of, own in zip(stay, self.positions, strict=True) if len(of) < len(own)]
        _check_room(folder, sum(map(len, affected)) * self.grid[0] * self.grid[1] * self.dimensions * 2)
        for fold, own in enumerate(self.positions):
            if len(stay[fold]) < len(own):
                left[fold] = files.enter_context(EmbeddingFile(folder / f"left-{fold}", self.dimensions))
                for position, patches in self.images(fold):
                    if position not in aside:
                        left[fold].append_stored(patches, self.scale)
        return EmbeddedImages(left, self.grid, self.names, stay)

    def dealt(self, stay: Sequence[int], plan: Plan, files: ExitStack, folder: Path) -> "EmbeddedImages":
        """The images that stay as a fit of their own, dealt into other folds.

        Args:
            stay: their positions, ascending; the first becomes position 0.
            plan: of them alone.
            files: closes the new files.
            folder: where they are made.
        """
        _check_room(folder, len(stay) * self.grid[0] * self.grid[1] * self.dimensions * 2)
        new = _no_images(plan, self.dimensions, self.grid, files, folder)
        of_position = self.by_position()
        for number, position in enumerate(stay):
            new.files[plan.fold_of[number]].append_stored(of_position[position], self.scale)
            new.positions[plan.fold_of[number]].append(number)
            new.names.append(self.names[position])
        return new

    @property
    def dimensions(self) -> int:
        """Values of a patch embedding."""
        return int(self.files[0].rows().shape[1])


@dataclass(slots=True)
class FitStages:
    """One fit's stages: what they share. `reading` says how far they are and how long they took."""

    recipe: Recipe
    extractor: FeatureExtractor
    tiled: TiledExtractor
    reading: Reading

    @property
    def batch(self) -> int:
        """How many images are embedded together."""
        if self.recipe.tiling is not None:
            return 1
        return max(BATCH, self.extractor.batch_size(self.recipe.image_size_px))

    def embed(
        self, images: Iterable[NamedImage], plan: Plan, calibration: int, files: ExitStack, folder: Path
    ) -> EmbeddedImages:
        """Embed all images, each onto the file of its fold.

        Args:
            images: in order, each once.
            plan: how many there are, and the fold of each.
            calibration: frames whose embeddings are kept beside the fit's.
            files: closes the files of embeddings.
            folder: where they are made.

        Raises:
            EngineError: another number of images came, or the embeddings do not fit on the disk.
            RecipeError: the recipe projects to more dimensions than an embedding has.
        """
        total, grid = len(plan.fold_of), self.tiled.grid
        result: EmbeddedImages | None = None
        seen = 0
        for batch in batches(self.reading.prepared(images, total), self.batch):
            with self.reading.timed("embed"):
                for (name, _), bands in zip(batch, self.embeddings([image for _, image in batch]), strict=True):
                    if seen == total:
                        raise EngineError(f"images: {total} were announced, more came")
                    for band in bands:
                        if result is None:
                            D = band.shape[1]
                            check_projection(self.recipe, D)
                            values = total * (D + (self.recipe.projection or 0)) + calibration * D
                            _check_room(folder, values * grid[0] * grid[1] * 2)
                            result = _no_images(plan, D, grid, files, folder)
                        result.files[plan.fold_of[seen]].append(band)
                    assert result is not None  # noqa: S101 - an image has a band
                    result.positions[plan.fold_of[seen]].append(seen)
                    result.names.append(name)
                    seen += 1
            self.reading.report("embed", seen, total)
        if result is None or seen != total:
            raise EngineError(f"images: {total} were announced, {seen} came")
        scale = max(file.scale for file in result.files)
        for file in result.files:
            file.raise_scale(scale)
        return result

    def embeddings(self, images: Sequence[Image]) -> Iterator[Iterable[NDArray[np.float32]]]:
        """Each image's patch embeddings in bands: tiled images go alone, others as one batch."""
        if self.recipe.tiling is None:
            yield from ((values,) for values in self.extractor.embed(images, self.tiled.options)[0].cpu().numpy())
        else:
            yield from ((band.cpu().numpy() for band in self.tiled.bands(image)) for image in images)

    def choose(
        self, embedded: EmbeddedImages, folder: Path, before: Sequence[Coreset] = (), of: EmbeddedImages | None = None
    ) -> list[Coreset]:
        """The coreset of each fold's patches.

        Args:
            embedded: the images.
            folder: for temporary files; made here.
            before: the coresets of other images, `of`: a fold that lies on the same file keeps its own.
        """
        folder.mkdir()
        sizes = [len(file) for file in embedded.files]
        wanted = [rows_wanted(size, self.recipe, len(sizes)) for size in sizes]
        chosen: list[Coreset] = []
        with self.reading.timed("coreset"):
            for fold, (file, count) in enumerate(zip(embedded.files, wanted, strict=True)):
                if of is not None and of.files[fold] is file:
                    chosen.append(before[fold])
                    continue
                scratch = folder / f"coreset-{fold}"
                scratch.mkdir()
                chosen_before = sum(wanted[:fold])
                chosen.append(
                    greedy_coreset(
                        file.rows(),
                        count,
                        seed=self.recipe.seed,
                        scale=embedded.scale,
                        projection=self.recipe.projection,
                        scratch=scratch,
                        device=str(self.extractor.device),
                        progress=lambda done, _, before=chosen_before: self.reading.report(  # type: ignore[misc]
                            "coreset", before + done, sum(wanted)
                        ),
                    )
                )
        return chosen

    def scores(
        self, images: Iterable[NamedImage], total: int, stored: Rows, scale: float, keep: KeepPatches
    ) -> list[float]:
        """Anomaly scores of good images, as the inspector gives them.

        Args:
            images: prepared images that gave none of the rows.
            total: how many there are.
            stored: the rows, int16 (M, D).
            scale: what one unit of them stands for.
            keep: is given each image's patch embeddings as the bank would store them.
        """
        with self.reading.timed("calibrate"):
            rows = dequantise(stored, scale)
            index = make_search("auto", rows, str(self.extractor.device))
            scorer = Scorer(rows, index, self.recipe.neighbours, self.recipe.score_patches)
            scores: list[float] = []
            for batch in batches(images, self.batch):
                for (name, _), bands in zip(batch, self.embeddings([i for _, i in batch]), strict=True):
                    patches: list[Rows] = []
                    scores.append(score_of(index, scorer, _copied(bands, scale, patches)).value)
                    keep(name, np.concatenate(patches))
                self.reading.report("calibrate", len(scores), total)
        return scores


def _no_images(plan: Plan, dimensions: int, grid: tuple[int, int], files: ExitStack, folder: Path) -> EmbeddedImages:
    made = [files.enter_context(EmbeddingFile(folder / f"embeddings-{fold}", dimensions)) for fold in range(plan.folds)]
    return EmbeddedImages(made, grid, positions=[[] for _ in made])


def _copied(bands: Iterable[NDArray[np.float32]], scale: float, to: list[Rows]) -> Iterator[NDArray[np.float32]]:
    """The same bands; copies of them, as a bank stores them, are appended to `to`."""
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


def batches(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in order, `size` together; the last batch may have fewer."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def ignore_patches(_name: str, _patches: Rows) -> None:
    """Patch embeddings that nobody keeps."""


def ignore_progress(_stage: str, _done: int, _total: int) -> None:
    """Progress that nobody follows."""
