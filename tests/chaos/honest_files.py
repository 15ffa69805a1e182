"""What an honest image file costs to decode, by its format and its pixels: the measure of what a bomb may cost."""

import io
import warnings
from collections.abc import Awaitable, Callable
from statistics import median
from typing import TypeAlias

import numpy as np
from PIL import Image as Pillow

from tests.stream.scripted import picture

Cost: TypeAlias = Callable[[bytes], Awaitable[float]]
"""Seconds of CPU that decoding a file takes."""
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "PPM")
_SIDES_PX = (64, 2000)
_TIMES = 5


def baseline(kind: str, side_px: int) -> bytes:
    """A plain file of so many pixels a side: baseline JPEG, PNG with a few chunks, TIFF in strips."""
    noise = np.random.default_rng(side_px).integers(0, 24, (side_px, side_px, 3), dtype=np.uint8)
    image = Pillow.fromarray(np.ascontiguousarray(picture(66, (side_px, side_px))) + noise)
    file = io.BytesIO()
    image.save(file, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    return file.getvalue()


class HonestCosts:
    """For each format a line through the costs of two sizes, measured in this run."""

    def __init__(self, lines: dict[str, tuple[float, float]]) -> None:
        self._lines = lines

    @classmethod
    async def measured(cls, cost: Cost) -> "HonestCosts":
        """Decode plain files, several times each."""
        lines = {}
        for kind in FORMATS:
            files = [baseline(kind, side_px) for side_px in _SIDES_PX]
            small_s, large_s = [median([await cost(file) for _ in range(_TIMES)]) for file in files]
            pixels = [side_px**2 for side_px in _SIDES_PX]
            lines[kind] = (small_s, max(0.0, large_s - small_s) / (pixels[1] - pixels[0]))
        return cls(lines)

    def of(self, file: bytes, max_pixels: int) -> float:
        """Seconds for a plain file of the format and pixels that this one says it has; 0 where nobody decodes it."""
        kind, pixels = _said(file)
        if kind not in self._lines or pixels > max_pixels:
            return 0.0
        least_s, each_s = self._lines[kind]
        return least_s + each_s * pixels


def _said(file: bytes) -> tuple[str, int]:
    """Format and pixels, as its header has them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that are meant to be broken
            with Pillow.open(io.BytesIO(file), formats=FORMATS) as image:
                return str(image.format), image.width * image.height
    except Exception:  # whatever a broken header makes the library raise
        return "", 0
