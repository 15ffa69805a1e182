"""The stages of a fit: images are read and embedded onto a file, rows are chosen, held-out images are scored.

`fitting.fit` calls them in order. `FitStages` holds what they share, and how far they are and how long they took.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.greedy import Coreset, greedy_coreset
from patchline.engine.errors import EngineError
from patchline.engine.features.extractor import FeatureExtractor
from patchline.engine.features.preprocess import prepare
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.fitting.prefetch import Item, read_ahead
from patchline.engine.fitting.scratch import EmbeddingFile, ImageSpool
from patchline.engine.inspection.judge import score_of
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.numerics.quantise import dequantise, quantise
from patchline.engine.recipe import Recipe, check_projection
from patchline.engine.search.factory import make_search
from patchline.engine.types import Image, Rows

NamedImage: TypeAlias = tuple[str, Image]
StageProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done and how much there is."""
KeepPatches: TypeAlias = Callable[[str, Rows], None]
"""Puts by a frame's patch embeddings, int16 (P, D), under its name."""
BATCH = 8
"""Images embedded together; tiled ones, which are large, go alone."""


@dataclass(slots=True)
class EmbeddedImages:
    """Patch embeddings on file, the patch grid (h, w), and the names of the images that they came from, in order."""

    file: EmbeddingFile
    grid: tuple[int, int]
    names: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FitStages:
    """One fit's stages: what they share, how far they are and how long they took, in `seconds`."""

    recipe: Recipe
    extractor: FeatureExtractor
    tiled: TiledExtractor
    report: StageProgress
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "embed"), 0.0))

    @property
    def batch(self) -> int:
        """How many images are embedded together."""
        if self.recipe.tiling is not None:
            return 1
        return max(BATCH, self.extractor.batch_size(self.recipe.image_size_px))

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
        aside: frozenset[int],
        held_out: ImageSpool,
        files: ExitStack,
        folder: Path,
    ) -> EmbeddedImages:
        """Embed the images whose positions were not drawn; those that were go to `held_out`.

        Args:
            images: in order, each once.
            total: how many there are.
            drawn: positions, from 0, of the images to hold out.
            aside: positions of images to pass over.
            held_out: takes them; where images for calibration were given, it holds these, and none is drawn.
            files: closes the file of embeddings.
            folder: where that file is made.

        Raises:
            EngineError: another number of images came, or the embeddings do not fit on the disk.
            RecipeError: the recipe projects to more dimensions than an embedding has.
        """
        grid = self.tiled.grid
        result: EmbeddedImages | None = None
        batch: list[NamedImage] = []
        wanted, seen = total - len(drawn) - len(aside), 0
        calibration = len(drawn) or len(held_out)
        for position, (name, image) in enumerate(self.prepared(images, total)):
            seen += 1
            if position in drawn:
                held_out.append(name, image)
            elif position not in aside:
                batch.append((name, image))
            if not batch or (len(batch) < self.batch and seen < total):
                continue
            with self.timed("embed"):
                for bands in self.embeddings([image for _, image in batch]):
                    for band in bands:
                        if result is None:
                            check_projection(self.recipe, band.shape[1])
                            values = wanted * (band.shape[1] + (self.recipe.projection or 0))
                            values += calibration * band.shape[1]  # they are kept, so that the bank can learn
                            _check_room(folder, values * grid[0] * grid[1] * 2)
                            file = files.enter_context(EmbeddingFile(folder / "embeddings", band.shape[1]))
                            result = EmbeddedImages(file, grid)
                        result.file.append(band)
            assert result is not None  # noqa: S101 - the batch held an image
            result.names += [name for name, _ in batch]
            batch.clear()
            self.report("embed", len(result.names), wanted)
        if result is None or seen != total:
            raise EngineError(f"images: {total} were announced, {seen} came")
        return result

    def embeddings(self, images: Sequence[Image]) -> Iterator[Iterable[NDArray[np.float32]]]:
        """Each image's patch embeddings in bands: tiled images go alone, others as one batch."""
        if self.recipe.tiling is None:
            yield from ((values,) for values in self.extractor.embed(images, self.tiled.options)[0].cpu().numpy())
        else:
            yield from ((band.cpu().numpy() for band in self.tiled.bands(image)) for image in images)

    def choose(self, vectors: Rows, scale: float, folder: Path) -> Coreset:
        """The coreset of all patches, int16 (N, D); temporary files go to `folder`."""
        with self.timed("coreset"):
            return greedy_coreset(
                vectors,
                max(1, round(self.recipe.coreset_fraction * len(vectors))),
                seed=self.recipe.seed,
                scale=scale,
                projection=self.recipe.projection,
                scratch=folder,
                device=str(self.extractor.device),
                progress=lambda done, total: self.report("coreset", done, total),
            )

    def scores(self, images: ImageSpool, stored: Rows, scale: float, keep: KeepPatches) -> NDArray[np.float64]:
        """Anomaly scores of held-out good images, float64 (n,), as the inspector gives them.

        Args:
            images: the held-out images.
            stored: the bank's rows, int16 (M, D).
            scale: what one unit of them stands for.
            keep: is given each image's patch embeddings as the bank would store them.
        """
        with self.timed("calibrate"):
            rows = dequantise(stored, scale)
            index = make_search("auto", rows, str(self.extractor.device))
            scorer = Scorer(rows, index, self.recipe.neighbours, self.recipe.score_patches)
            scores: list[float] = []
            for batch in batches(images, self.batch):
                for (name, _), bands in zip(batch, self.embeddings([i for _, i in batch]), strict=True):
                    patches: list[Rows] = []
                    scores.append(score_of(index, scorer, _copied(bands, scale, patches)).value)
                    keep(name, np.concatenate(patches))
                self.report("calibrate", len(scores), len(images))
        return np.array(scores)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add to the stage's seconds."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


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


def ignore_progress(_stage: str, _done: int, _total: int) -> None:
    """Progress that nobody follows."""
