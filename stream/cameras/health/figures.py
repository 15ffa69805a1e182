"""What is looked at of a picture: a small luma, its histogram, and how sharp edges are along rows and columns.

The small luma takes every n-th pixel and averages 4 x 4 of these to a cell; some 64 cells span the picture's width.
Sharpness needs whole pixels, so a few rows and columns are read at full resolution. An edge seen through an optics of
blur b differs over a short distance by a share of what it differs over a long one, about short / b, whatever its
contrast. The fourth power lets edges outweigh noise and plain areas.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from patchline.engine.types import Image

LEAST_PX = 64
"""Height and width from which a picture is looked at: smaller ones have too few cells."""
_CELL = 4
_SAMPLES = 256
_LINES = 32
_SHORT_WAY = 640
_LONG_WAY = 80
"""The short distance is a 640th of the width, the long one an 80th."""

Cells = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PictureFigures:
    """The figures of one picture."""

    size_px: tuple[int, int]
    """(H, W)."""
    samples: Cells
    """Luma of every n-th pixel, uint8 (4h, 4w)."""
    cells: Cells
    """Its means, uint8 (h, w)."""
    low: int
    middle: int
    high: int
    """The luma below which 2, 50 and 98 % of the samples are."""
    sharpness: tuple[float, float]
    """Along rows and along columns: 0 to 1. Below 0 where there is no edge to tell by."""

    @property
    def spread(self) -> int:
        """Levels between the 2 % darkest and the 2 % brightest samples."""
        return self.high - self.low


def figures_of(image: Image) -> PictureFigures:
    """The figures of a picture, RGB uint8 (H, W, 3), at least `LEAST_PX` high and wide."""
    height, width = image.shape[:2]
    step_y, step_x = max(1, height // _SAMPLES), max(1, width // _SAMPLES)
    rows, columns = height // step_y // _CELL, width // step_x // _CELL
    part = image[: rows * _CELL * step_y : step_y, : columns * _CELL * step_x : step_x]
    total = part[..., 0].astype(np.uint16)
    total += part[..., 1]
    total += part[..., 1]
    total += part[..., 2]
    samples = (total >> 2).astype(np.uint8)
    cells = cv2.resize(samples, (columns, rows), interpolation=cv2.INTER_AREA)
    counts = np.cumsum(cv2.calcHist([samples], [0], None, [256], [0, 256]).ravel())
    low, middle, high = np.searchsorted(counts, counts[-1] * np.array([0.02, 0.5, 0.98]))
    return PictureFigures(
        size_px=(height, width),
        samples=samples,
        cells=cells.astype(np.uint8),
        low=int(low),
        middle=int(middle),
        high=int(high),
        sharpness=(
            _sharpness(image[height // _LINES // 2 :: height // _LINES, :, 1]),
            _sharpness(np.ascontiguousarray(image[:, width // _LINES // 2 :: width // _LINES, 1].T)),
        ),
    )


def _sharpness(lines: npt.NDArray[np.uint8]) -> float:
    """Of lines of pixels, uint8 (n, length): how far an edge rises within the short distance, of its rise in the long.

    Below 0 where even the long distance sees less than some levels.
    """
    length = lines.shape[1]
    short, long = max(1, length // _SHORT_WAY), max(2, length // _LONG_WAY)
    values = lines.astype(np.float32)
    rise, whole = _fourth(values[:, short:] - values[:, :-short]), _fourth(values[:, long:] - values[:, :-long])
    return float((rise / whole) ** 0.25) if whole > _LEAST_RISE**4 else -1.0


_LEAST_RISE = 3.0


def _fourth(difference: npt.NDArray[np.float32]) -> float:
    """The mean fourth power."""
    squares = np.square(difference).ravel()
    return float(np.dot(squares, squares)) / squares.size
