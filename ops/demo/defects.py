"""Planted defects: five kinds, blended into the web at a given contrast, with the mask of what they touched."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from patchline.engine.types import Image

Alpha: TypeAlias = NDArray[np.float32]
"""How much of a pixel the defect covers, 0 to 1, (H, W)."""
FAINTEST_ALPHA = 0.05
"""Coverage below this is cut to none, so that a mask ends where the change ends."""
CONTRAST_RANGE = (0.05, 1.0)
"""From what nobody sees to what nobody misses."""


class Kind(StrEnum):
    """The kinds of defect."""

    SCRATCH = "scratch"
    STAIN = "stain"
    HOLE = "hole"
    SMEAR = "smear"
    MISSING_TEXTURE = "missing texture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """A planted defect: `mask` is bool (h, w) with its corner at (`top_px`, `left_px`) of the web.

    `contrast` is the share of the defect in the blend: pixel' = pixel + contrast * alpha * (defect - pixel).
    """

    kind: Kind
    contrast: float
    top_px: int
    left_px: int
    mask: NDArray[np.bool_]


def draw_contrast(rng: np.random.Generator) -> float:
    """A contrast, uniform over `CONTRAST_RANGE`."""
    return float(rng.uniform(*CONTRAST_RANGE))


def plant(web: Image, kind: Kind, contrast: float, cell: tuple[int, int, int, int], rng: np.random.Generator) -> Defect:
    """Blend a defect into the web, in place.

    The replacement is made from the pixels of the cell alone, and nothing outside the mask changes.

    Args:
        web: RGB uint8 (H, W, 3); changed.
        kind: of the defect.
        contrast: the share of the defect in the blend, 0 to 1.
        cell: where it may lie: top, left, height, width in pixels.
        rng: of its shape.

    Returns:
        The defect, with its mask.
    """
    top, left, height, width = cell
    place = web[top : top + height, left : left + width]
    before = place.astype(np.float32)
    if kind in (Kind.MISSING_TEXTURE, Kind.SMEAR):
        alpha = _most_textured(before, [_SHAPES[kind](rng, height, width) for _ in range(6)])
    else:
        alpha = _SHAPES[kind](rng, height, width)
    alpha[alpha < FAINTEST_ALPHA] = 0.0
    blended = before + contrast * alpha[:, :, None] * (_fill(kind, before, rng) - before)
    place[:] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return Defect(kind=kind, contrast=contrast, top_px=top, left_px=left, mask=alpha > 0)


def _fill(kind: Kind, before: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """What the defect looks like at full contrast, (H, W, 3)."""
    if kind is Kind.SCRATCH:
        return np.full_like(before, 235.0 if rng.random() < 0.7 else 20.0)
    if kind is Kind.STAIN:
        return np.asarray(before * rng.uniform(0.25, 0.45), np.float32)
    if kind is Kind.HOLE:
        return np.full_like(before, 8.0)
    if kind is Kind.SMEAR:
        return _drag(before, rng.uniform(-0.5, 0.5), rng)
    # The bare ground under a texture: even, and a little brighter.
    return np.asarray(cv2.blur(before, (81, 81)) + 35.0, np.float32)


def _drag(before: NDArray[np.float32], angle: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Material dragged along a direction: blurred along it, with streaks, float32 (H, W, 3)."""
    reach = (30 * np.cos(angle), 30 * np.sin(angle))
    kernel = np.zeros((61, 61), np.float32)
    ends = [(round(30 + sign * reach[0]), round(30 + sign * reach[1])) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 3)
    kernel /= kernel.sum()
    streaks = rng.normal(0.0, 1.0, before.shape[:2]).astype(np.float32)
    streaks = np.asarray(cv2.filter2D(cv2.GaussianBlur(streaks, (0, 0), 1.5), -1, kernel), np.float32)
    streaks *= 30.0 / max(float(streaks.std()), 1e-6)
    return np.asarray(cv2.filter2D(before, -1, kernel) + streaks[:, :, None], np.float32)


def _scratch(rng: np.random.Generator, height: int, width: int) -> Alpha:
    length = rng.uniform(0.4, 0.85) * width
    angle = rng.uniform(-0.6, 0.6)
    along = np.linspace(-0.5, 0.5, 24)
    bend = rng.uniform(-18.0, 18.0) * (1 - 4 * along**2)
    rows = along * length * np.sin(angle) + bend * np.cos(angle)
    columns = along * length * np.cos(angle) - bend * np.sin(angle)
    rows += _room(rng, height, rows)
    columns += _room(rng, width, columns)
    line = np.stack([columns, rows], axis=1)
    canvas = np.zeros((height, width), np.uint8)
    points = np.rint(line * 16).astype(np.int32)[None]
    cv2.polylines(canvas, list(points), False, 255, int(rng.integers(3, 8)), cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255.0


def _blob(
    rng: np.random.Generator,
    height: int,
    width: int,
    across_px: tuple[int, int],
    down_px: tuple[int, int],
    *,
    edge: float = 0.35,
) -> Alpha:
    """An uneven ellipse with a soft edge; half-axes drawn from the ranges given (across the columns, down the rows)."""
    across, down = rng.uniform(*across_px), rng.uniform(*down_px)
    across, down = min(across, width / 2 / 1.3), min(down, height / 2 / 1.3)
    centre_row = rng.uniform(1.3 * down, height - 1.3 * down) if height > 2.6 * down else height / 2
    centre_column = rng.uniform(1.3 * across, width - 1.3 * across) if width > 2.6 * across else width / 2
    rows, columns = np.mgrid[0:height, 0:width]
    y, x = (rows - centre_row) / down, (columns - centre_column) / across
    bearing, radius = np.arctan2(y, x), np.hypot(x, y)
    outline = np.ones_like(radius)
    for waves in (2, 3, 5):
        outline += rng.uniform(-0.09, 0.09) * np.sin(waves * bearing + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.clip((outline - radius) / edge, 0.0, 1.0), np.float32)


def _room(rng: np.random.Generator, size: int, offsets: NDArray[np.float64]) -> float:
    """A drawn shift that keeps `offsets` at least 4 pixels inside 0 to `size`."""
    low, high = 4 - float(offsets.min()), size - 4 - float(offsets.max())
    return float(rng.uniform(low, high)) if high > low else size / 2


def _most_textured(before: NDArray[np.float32], alphas: list[Alpha]) -> Alpha:
    """The place where most is lost: where there is no texture, none can be smeared or missing."""
    return max(alphas, key=lambda alpha: float(before[alpha > 0.5].std()))


_SHAPES: dict[Kind, Callable[[np.random.Generator, int, int], Alpha]] = {
    Kind.SCRATCH: _scratch,
    Kind.STAIN: lambda rng, height, width: _blob(rng, height, width, (26, 64), (24, 60), edge=0.2),
    Kind.HOLE: lambda rng, height, width: _blob(rng, height, width, (12, 32), (12, 32), edge=0.12),
    Kind.SMEAR: lambda rng, height, width: _blob(rng, height, width, (50, 84), (26, 50)),
    Kind.MISSING_TEXTURE: lambda rng, height, width: _blob(rng, height, width, (44, 84), (34, 64), edge=0.15),
}
