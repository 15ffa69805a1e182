"""What moves in a camera's pictures, pictures that repeat bit for bit, and which cameras of a line move."""

import threading

import numpy as np

from patchline.engine.types import Image
from patchline.stream.cameras.health.figures import Cells, PictureFigures

_APART_S = 0.4
"""Cells are compared with those of so long ago: what moves slowly is seen too."""
_LEVELS = 8
_SHARE = 0.02
"""Something moves where so many of the cells differ by more than so many levels, beyond what all differ by."""


class Motion:
    """Looks at the pictures of one camera, in their order. Between pictures it holds the last one."""

    def __init__(self) -> None:
        self._last: tuple[Image, Cells] | None = None
        self._anchor: tuple[Cells, float] | None = None
        self.moved_s: float | None = None
        """When it was last seen that something has moved."""
        self.moved_since_s: float | None = None
        """It was seen in this very picture, and happened after this time; None: it was not."""
        self.still_s: float | None = None
        """Since when pictures have been equal bit for bit; None while they are not."""
        self.repeats = 0
        """So many pictures in a row equal the one before them."""

    def next(self, image: Image, figures: PictureFigures, at_s: float) -> None:
        """Take the next picture, RGB uint8 (H, W, 3), taken at `at_s` of a clock that only rises."""
        if self._last is not None and _equal(self._last, image, figures.samples):
            self.repeats += 1
            self.still_s = at_s if self.still_s is None else self.still_s
        else:
            self.repeats, self.still_s = 0, None
        self._last, self.moved_since_s = (image, figures.samples), None
        if self._anchor is None or self._anchor[0].shape != figures.cells.shape:
            self._anchor = figures.cells, at_s
        elif at_s - self._anchor[1] >= _APART_S:
            if _moves(self._anchor[0], figures.cells):
                self.moved_s, self.moved_since_s = at_s, self._anchor[1]
            self._anchor = figures.cells, at_s


def _equal(last: tuple[Image, Cells], image: Image, samples: Cells) -> bool:
    """Whether a picture equals the last one bit for bit; the samples rule out most that do not."""
    return last[1].shape == samples.shape and bool(np.array_equal(last[1], samples) and np.array_equal(last[0], image))


def _moves(before: Cells, after: Cells) -> bool:
    difference = after.astype(np.int16) - before
    difference -= np.int16(np.median(difference))  # a lamp that flickers, or an exposure that changes, moves nothing
    return float(np.mean(np.abs(difference) > _LEVELS)) >= _SHARE


class Lines:
    """After which time the cameras of each line have moved last. Any thread may tell and ask."""

    def __init__(self) -> None:
        self._moved: dict[str, dict[str, float]] = {}
        self._lock = threading.Lock()

    def moved(self, line: str, camera: str, since_s: float) -> None:
        """A camera of a line has seen something move after `since_s`."""
        with self._lock:
            self._moved.setdefault(line, {})[camera] = since_s

    def others_move(self, line: str, camera: str, since_s: float) -> bool:
        """Whether another camera of the line has seen something move after `since_s`."""
        with self._lock:
            return any(at_s >= since_s for name, at_s in self._moved.get(line, {}).items() if name != camera)
