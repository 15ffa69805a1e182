"""Images of a fit as they are read: brought to the recipe's size, ahead on a thread, and kept where they are needed
again.

What a fit must refuse of its images is refused here, before a backbone is loaded.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from patchline.engine.errors import CalibrationError
from patchline.engine.features.preprocess import prepare
from patchline.engine.fitting.prefetch import read_ahead
from patchline.engine.fitting.scratch import ImageSpool
from patchline.engine.recipe import Recipe
from patchline.engine.types import Image

NamedImage: TypeAlias = tuple[str, Image]
StageProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done and how much there is."""


@dataclass(slots=True)
class Reading:
    """Reads images for one fit: how far it is, and how long each stage took, in `seconds`."""

    recipe: Recipe
    report: StageProgress
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "embed"), 0.0))

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

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add to the stage's seconds."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def refuse_the_same(recipe: Recipe, images: Iterable[NamedImage], calibration: ImageSpool) -> None:
    """Raise CalibrationError where an image is among those of the fit and among those for the threshold, by pixels.

    It would be scored by its own rows: the threshold would lie too low, and reject nearly all that is new.
    """
    fitted = {_digest(image): name for name, image in images}
    both = [(name, fitted[digest]) for name, image in calibration if (digest := _digest(image)) in fitted]
    if both:
        name, there = both[0]
        raise CalibrationError(
            f"recipe {recipe.name!r}: {len(both)} of {len(calibration)} images for calibration are in the fit too, by "
            f"their pixels: {name} is {there}; expected other good images, or none: each of the fit is then scored "
            f"without the rows of its own fold"
        )


def _digest(image: Image) -> bytes:
    return hashlib.sha256(image.data).digest()
