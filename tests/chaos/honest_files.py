"""What an honest image file costs to decode, by its format and its pixels: the measure of what a bomb may cost."""

import io
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import TypeAlias

import numpy as np
from PIL import Image as Pillow

from tests.stream.scripted import picture

Cost: TypeAlias = Callable[[bytes], Awaitable[float]]
"""Seconds of CPU that decoding a file takes."""
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "PPM")
_TIMES = 5
Points: TypeAlias = tuple[list[int], list[float]]
"""Pixels, ascending, and the seconds that decoding so many takes."""


def baseline(kind: str, side_px: int) -> bytes:
    """A plain file of so many pixels a side: baseline JPEG, PNG with a few chunks, TIFF in strips."""
    noise = np.random.default_rng(side_px).integers(0, 24, (side_px, side_px, 3), dtype=np.uint8)
    image = Pillow.fromarray(np.ascontiguousarray(picture(66, (side_px, side_px))) + noise)
    file = io.BytesIO()
    image.save(file, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    return file.getvalue()


class HonestCosts:
    """The costs of some sizes of each format, measured in this run, and lines between them.

    Beyond caches a pixel costs more: files of very many pixels are compared with those of as many.
    """

    def __init__(self, points: Mapping[str, Points]) -> None:
        self._points = points

    @classmethod
    async def measured(cls, cost: Cost, sides_px: Sequence[int]) -> "HonestCosts":
        """Decode plain files of these sizes, ascending, several times each."""
        points: dict[str, Points] = {}
        for kind in FORMATS:
            pixels, seconds = [side_px**2 for side_px in sides_px], list[float]()
            for side_px in sides_px:
                file = baseline(kind, side_px)
                seconds.append(median([await cost(file) for _ in range(_TIMES)]))
            points[kind] = pixels, seconds
        return cls(points)

    def of(self, file: bytes, max_pixels: int) -> float:
        """Seconds for a plain file of the format and pixels that this one says it has; 0 where nobody decodes it."""
        kind, pixels = _said(file)
        if kind not in self._points or pixels > max_pixels:
            return 0.0
        known_pixels, seconds = self._points[kind]
        if pixels > known_pixels[-1]:
            return seconds[-1] * pixels / known_pixels[-1]
        return float(np.interp(pixels, known_pixels, seconds))

    def __str__(self) -> str:
        """What the largest of each format costs."""
        return ", ".join(
            f"{kind} {1e9 * seconds[-1] / pixels[-1]:.1f}" for kind, (pixels, seconds) in self._points.items()
        )


def _said(file: bytes) -> tuple[str, int]:
    """Format and pixels, as its header has them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that are meant to be broken
            with Pillow.open(io.BytesIO(file), formats=FORMATS) as image:
                return str(image.format), image.width * image.height
    except Exception:  # whatever a broken header makes the library raise
        return "", 0
