"""Embeddings as 16-bit integers with one scale a recipe: value = integer * scale.

The scale is a power of two, so every stored value is exact in float32, and a scale that turns out too small doubles
without a second rounding of the scale itself. Squared distances of stored values are exact integers times scale².
"""

import math

import numpy as np

from patchline.engine.errors import EngineError
from patchline.engine.types import Floats, Rows

LIMIT = 32767
"""The largest stored value."""
HEADROOM = 2.0
"""Embeddings learned later may be so many times as large as the largest of the fit before they saturate."""


def scale_for(largest: float) -> float:
    """The smallest power of two that stores values up to `HEADROOM * largest` in absolute terms.

    Raises:
        EngineError: `largest` is not a finite number.
    """
    if not math.isfinite(largest):
        raise EngineError(f"embeddings must be finite, the largest is {largest}")
    return math.ldexp(1.0, math.ceil(math.log2(max(largest, 2.0**-20) * HEADROOM / LIMIT)))


def quantise(values: Floats, scale: float) -> Rows:
    """Round float32 (N, D) to int16 multiples of `scale`, half to even; what does not fit saturates."""
    rounded: Rows = np.clip(np.rint(values * np.float32(1.0 / scale)), -LIMIT, LIMIT).astype(np.int16)
    return rounded


def dequantise(rows: Rows, scale: float) -> Floats:
    """The stored values of int16 (N, D) as float32 (N, D), exactly."""
    return rows.astype(np.float32) * np.float32(scale)
