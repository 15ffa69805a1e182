"""Vectors as a few 8-bit integers whose products bound distances from below: a quarter of the cost of float32.

For orthonormal axes P (D, K) and residual norms e(x) = sqrt(|x|^2 - |Px|^2), the map x -> (Px, e(x)) to K + 1
dimensions brings no two vectors farther apart, by Pythagoras and the triangle inequality. Its values are divided by a
step and rounded to integers c(x) of -127 to 127. With errors d(x) = |(Px, e(x)) - step c(x)|, which are computed and
not estimated,

    |q - r|  >=  step |c(q) - c(r)| - d(q) - d(r).

Integers multiply exactly, so no rounding of the product has to be allowed for. Three more values of each code hold half
the squared norm of c(r) in digits of base 127, and one product gives

    s(q, r)  =  c(q) . c(r) - |c(r)|^2 / 2  =  (|c(q)|^2 - |c(q) - c(r)|^2) / 2

for all pairs: the larger, the nearer. A query outside the box that the rows' codes span is moved onto it; that brings
it nearer to each of them by at least the way it moved, as the sides of an obtuse triangle have it.

8-bit products are exact where the processor sums in 32 bits (AVX-512 VNNI, AMX); elsewhere float32 gives the same
integers.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from engine.products import product

Codes: TypeAlias = NDArray[np.int8]
Doubles: TypeAlias = NDArray[np.float64]

LARGEST = 127
DIGITS = 3
"""Values of a code that hold half its squared norm: the first counts ones, the others `LARGEST` each."""
HEADROOM = 1.25
"""The box is so much wider than the rows that it is made for, so that rows like them fit when they join later."""
MOST_HALF = LARGEST * LARGEST * (DIGITS - 1)
"""Half a squared norm, less the middle one, lies within plus and minus this."""


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Vectors in a code space: codes int8 (n, W), and in the units of the vectors: errors and ways moved, float64 (n,).

    `error` is how far a code lies from what it stands for, `beyond` how far that was outside the box.
    """

    codes: Codes
    error: Doubles
    beyond: Doubles


class CodeSpace:
    """The axes, the middle and the step of codes of `width` values; made for `rows`, float (M, D).

    Args:
        rows: what the codes of rows must have room for.
        axes: orthonormal, float64 (D, D), by falling variance; `width` - 4 of them are used, or all.
        centre: float64 (D,), taken off before the projection.
        width: values of a code, more than 4.
    """

    def __init__(self, rows: NDArray[np.floating], axes: Doubles, centre: Doubles, width: int) -> None:
        kept = max(1, width - 1 - DIGITS)
        self._axes = np.ascontiguousarray(axes[:, :kept])
        self._centre = centre
        self._middle = np.zeros(self._axes.shape[1] + 1)
        points = self._points(rows)
        self._middle[-1] = (points[:, -1].min() + points[:, -1].max()) / 2  # residual norms have one sign
        points[:, -1] -= self._middle[-1]
        sq = np.einsum("mk,mk->m", points, points)
        largest, least_sq, most_sq = float(np.abs(points).max()), float(sq.min()), float(sq.max())
        # Codes hold the largest value, and their digits the range of squared norms; both with room.
        by_norms = np.sqrt((most_sq - least_sq) / (4 * MOST_HALF))
        self.step = HEADROOM * max(largest / LARGEST, by_norms) or 1.0
        self._middle_half = int(np.rint((least_sq + most_sq) / 4 / self.step**2))

    @property
    def width(self) -> int:
        """Values of a code, W."""
        return len(self._middle) + DIGITS

    def rows(self, rows: NDArray[np.floating]) -> Coded | None:
        """Codes of rows, float (m, D); None where one does not fit, so that another space is needed."""
        found = self._coded(rows)
        half = np.square(found.codes.astype(np.int64)).sum(1) // 2 - self._middle_half
        if found.beyond.any() or (np.abs(half) > MOST_HALF).any():
            return None
        codes = np.empty((len(rows), self.width), dtype=np.int8)
        codes[:, :-DIGITS] = found.codes
        high, ones = np.divmod(half, LARGEST)
        codes[:, -DIGITS] = -ones
        for digit in range(1, DIGITS):
            part = np.clip(high, -LARGEST, LARGEST)
            codes[:, digit - DIGITS] = -part
            high -= part
        return Coded(codes, found.error, found.beyond)

    def queries(self, queries: NDArray[np.floating]) -> Coded:
        """Codes of queries, float (n, D), to be multiplied with those of rows."""
        found = self._coded(queries)
        codes = np.full((len(queries), self.width), LARGEST, dtype=np.int8)
        codes[:, :-DIGITS] = found.codes
        codes[:, -DIGITS] = 1
        return Coded(codes, found.error, found.beyond)

    def least(self, queries: Coded, reach: Doubles, error: float) -> NDArray[np.int32]:
        """What the product of a row with each query is at least, int32 (n,), if it lies within `reach`, float64 (n,).

        `error` is the largest of the rows' codes.
        """
        far = np.sqrt(np.maximum(np.square(reach * (1 + 1e-9) + error) - np.square(queries.beyond), 0.0))
        sq = np.square((far + queries.error) / self.step * (1 + 1e-9) + 1e-6)
        own = np.square(queries.codes[:, :-DIGITS].astype(np.int64)).sum(1)
        limit = np.floor((own - sq) / 2) + self._middle_half - 1
        least: NDArray[np.int32] = np.maximum(limit, np.iinfo(np.int32).min).astype(np.int32)
        return least

    def _coded(self, vectors: NDArray[np.floating]) -> Coded:
        points = self._points(vectors)
        values = points / self.step
        inside = np.clip(values, -LARGEST, LARGEST)
        codes = np.rint(inside)
        return Coded(codes.astype(np.int8), self.step * _norms(inside - codes), self.step * _norms(values - inside))

    def _points(self, vectors: NDArray[np.floating]) -> Doubles:
        """Axes and residual norm, float64 (n, K + 1), less the middle."""
        centred = vectors - self._centre
        inside = product(centred, self._axes)
        sq_outside = np.einsum("nd,nd->n", centred, centred) - np.einsum("nk,nk->n", inside, inside)
        points = np.concatenate([inside, np.sqrt(np.maximum(sq_outside, 0.0))[:, None]], axis=1)
        points[:, -1] -= self._middle[-1]
        return points


def code_products(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Products of codes, int8 (n, W) and (M, W), exactly: int32 (n, M)."""
    if exact_int8():
        return torch._int_mm(queries, rows.T)
    return torch.mm(queries.float(), rows.T.float()).int()  # sums below 2^24


@lru_cache(maxsize=1)
def exact_int8() -> bool:
    """Whether 8-bit products are there and sum without saturation on this machine."""
    extremes = torch.tensor([[-LARGEST, LARGEST]], dtype=torch.int8).repeat(64, 64)
    try:
        found = torch._int_mm(extremes, extremes.T.contiguous())
    except (AttributeError, RuntimeError):
        return False
    return bool((found == 128 * LARGEST**2).all())


def _norms(vectors: Doubles) -> Doubles:
    norms: Doubles = np.sqrt(np.einsum("nk,nk->n", vectors, vectors))
    return norms
