"""Where in an array of vectors the ones most alike stand: patches of frames come row by row, and patches side by side
overlap. What is near one of them is mostly near the other.
"""

import numpy as np
from numpy.typing import NDArray

NARROWEST, WIDEST = 8, 256
"""Patches in one row of a frame, as far as they are looked for."""
STRETCHES = 64
"""Stretches of the array by which strides are judged."""
ALIKE = 0.5
"""Vectors at a stride are alike within this share of the squared distance of vectors far apart in the array."""


def strides(vectors: NDArray[np.int16]) -> tuple[int, ...]:
    """Strides at which `vectors`, int16 (N, D), are alike, of both signs: that of one patch, and that of one row.

    None where the order of the vectors says nothing about them. What is found is a hint, by a few of the vectors.
    """
    last = len(vectors) - 1
    if last <= 2 * WIDEST:
        return ()
    starts = np.linspace(0, last - WIDEST, STRETCHES).astype(np.int64)
    sq = np.empty((STRETCHES, WIDEST + 1), dtype=np.float32)
    for number, start in enumerate(starts):
        stretch = vectors[start : start + WIDEST + 1].astype(np.float32)
        difference = stretch - stretch[0]
        sq[number] = np.einsum("nd,nd->n", difference, difference)
    firsts = vectors[starts].astype(np.float32)
    apart = float(np.median(np.square(firsts - np.roll(firsts, STRETCHES // 2, axis=0)).sum(1)))
    typical = np.median(sq, axis=0)
    row = NARROWEST + int(typical[NARROWEST:].argmin())
    return tuple(sign * stride for stride in (row, 1) if typical[stride] < ALIKE * apart for sign in (1, -1))
