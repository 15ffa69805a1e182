"""Vectors as a few 8-bit integers whose products bound distances from below, at a quarter of float32's cost.

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

8-bit products are exact and quick where the processor sums in 32 bits (AVX-512 VNNI, AVX-VNNI, AMX, the dot products of
arm64); elsewhere 16-bit products (`word_products`) or float32 give the same integers. What pays is measured.
"""

import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from patchline.engine.numerics.compiled import compiled
from patchline.engine.numerics.matmul import COLUMNS, FixedProduct
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.numerics.timing import quickest_s
from patchline.engine.search.coding import add_residuals, centre_parts, round_to_codes
from patchline.engine.search.word_products import word_products, words_pay
from patchline.engine.types import Codes, Doubles, Floats, Indices

LARGEST = 127
DIGITS = 3
"""Values of a code that hold half its squared norm: the first counts ones, the others `LARGEST` each."""
SLIGHTLY = 1e-5
"""An allowance for the few float32 operations on one value: more than their rounding, relative to it."""
SUMMED = 192
"""Dimensions of a float32 product that are summed at once; the rounding of each such sum is bounded by itself."""
CODED_VALUES = 2**19
"""Values of queries that are coded at a time: fewer would take longer to set up than to compute."""
BOX_HEADROOM = 1.25
"""The box is so much wider than the rows that it is made for, so that rows like them fit when they join later."""
CRAWL = 2.0
"""8-bit products that take so many times as long as float32 are left alone; where they pay, they take a third."""
LOWEST = -(2**24)
"""No product is less, and float32 holds it."""
MOST_HALF = LARGEST * LARGEST * (DIGITS - 1)
"""Digits hold half a squared norm less this number, a difference that lies between plus and minus this number."""
_THREAD = threading.local()
"""Memory that each thread keeps for products."""


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Vectors in a code space, as queries.

    `codes` is int8 (n, W), and `sq` their squared norms without the digits, float32 (n,). The others are float32 (n,)
    in the units of the vectors: `error` is how far a code lies from the point inside the box that it stands for,
    `beyond` how far the vector's own point lies outside the box, and `rounding` how far rounding may have moved that.
    """

    codes: Codes
    sq: Floats
    error: Floats
    beyond: Floats
    rounding: Floats

    def __getitem__(self, part: slice | Indices) -> "Coded":
        """The codes of a part of the vectors."""
        return Coded(self.codes[part], self.sq[part], self.error[part], self.beyond[part], self.rounding[part])

    def __setitem__(self, part: slice, others: "Coded") -> None:
        """Write others over a part."""
        self.codes[part], self.sq[part], self.error[part] = others.codes, others.sq, others.error
        self.beyond[part], self.rounding[part] = others.beyond, others.rounding

    @classmethod
    def empty(cls, total: int, width: int) -> "Coded":
        """Room for the codes of `total` vectors, of `width` values each."""
        return cls(np.empty((total, width), np.int8), *(np.empty(total, np.float32) for _ in range(4)))


class CodeSpace:
    """The axes, the middle and the step of codes of `width` values; made for `rows`, float32 (M, D).

    Args:
        rows: what the codes of rows must have room for.
        axes: orthonormal, float64 (D, D), by falling variance; `width` - 4 of them are used, or all.
        centre: float64 (D,), taken off before the projection.
        width: values of a code, more than 4.
    """

    def __init__(self, rows: Floats, axes: Doubles, centre: Doubles, width: int) -> None:
        kept = axes[:, : max(1, width - 1 - DIGITS)]
        # Rotated at random, all axes have much the same spread: a step need not be as wide as for the first.
        drawn = np.random.default_rng(kept.shape[1]).normal(size=(kept.shape[1], kept.shape[1]))
        rotation = torch.linalg.qr(torch.from_numpy(drawn))[0]
        rotated = torch.from_numpy(np.ascontiguousarray(kept)) @ rotation
        self._inside: int = rotated.shape[1]
        """Axes, K."""
        room = -(-(self._inside + 1) // COLUMNS) * COLUMNS - self._inside
        self._project = FixedProduct(torch.nn.functional.pad(rotated, (0, room)).float(), SUMMED)
        """To float32 (n, K + 1 or more), contiguous: value K is free for the residual norm, others are zeros."""
        self._centre = centre.astype(np.float32)
        self._middle = 0.0
        points = self._points(rows, np.empty(len(rows), dtype=np.float32))
        residuals = points[:, self._inside]
        self._middle = float(residuals.min() + residuals.max()) / 2  # residual norms have one sign
        residuals -= self._middle
        largest, most_sq = float(np.abs(points).max()), float(np.einsum("nk,nk->n", points, points).max())
        # Codes hold the largest value, and their digits the largest squared norm; both with room.
        self.step = BOX_HEADROOM * max(largest / LARGEST, sqrt(most_sq / MOST_HALF) / 2) or 1.0

    @property
    def width(self) -> int:
        """Values of a code, W."""
        return self._inside + 1 + DIGITS

    def rows(self, rows: Floats) -> tuple[Codes, float]:
        """Codes of rows, float32 (m, D), and their largest error, which is larger where rows lie outside the box."""
        return self.as_rows(self.queries(rows))

    def as_rows(self, queries: Coded) -> tuple[Codes, float]:
        """The same vectors coded as rows, and the largest error of these codes."""
        # Squared norms above what the digits hold count as less: the row seems nearer, and is not missed.
        half = np.minimum(queries.sq.astype(np.int64) // 2 - MOST_HALF, MOST_HALF)
        high, ones = np.divmod(half, LARGEST)
        codes = np.empty((len(half), self.width), dtype=np.int8)
        codes[:, :-DIGITS] = queries.codes[:, : self.width - DIGITS]
        codes[:, -DIGITS] = -ones
        for digit in range(1, DIGITS):
            part = np.clip(high, -LARGEST, LARGEST)
            codes[:, digit - DIGITS] = -part
            high -= part
        error = np.sqrt(np.square(queries.error) + np.square(queries.beyond)) * (1 + SLIGHTLY) + queries.rounding
        return codes, float(error.max(initial=0.0))

    def queries(self, queries: Floats) -> Coded:
        """Codes of queries, float32 (n, D), to be multiplied with those of rows."""
        coded = Coded.empty(len(queries), self.width)
        step = max(1, CODED_VALUES // queries.shape[1])
        for start in range(0, len(queries), step):
            part = coded[start : start + step]
            points = self._points(queries[start : start + step], part.rounding)
            round_to_codes(points, self.step, LARGEST, DIGITS, part.codes, part.sq, part.error, part.beyond)
        return coded

    def least(self, queries: Coded, reach: Doubles, error: float) -> NDArray[np.int32]:
        """The least product that a row can have with a query if it lies within reach of it.

        Args:
            queries: n of them.
            reach: float64 (n,), a distance for each query.
            error: the largest error of the rows' codes.

        Returns:
            int32 (n,): rows with smaller products are ruled out.
        """
        least = np.empty(len(reach), np.int32)
        measures = (queries.sq, queries.error, queries.beyond, queries.rounding)
        _least_of_each(np.asarray(reach, np.float64), error, *measures, self.step, least)
        return least

    def _points(self, vectors: Floats, rounding: Floats) -> Floats:
        """Values on the axes, and the residual norm less the middle, float32 (n, K + 1), followed by some zeros.

        How far rounding may have moved them, (n,), is written to `rounding`.

        Products and squares are float32 sums of `SUMMED` dimensions at a time, which bounds their rounding; what is
        made of them is float64: float32 would lose more of a small residual norm than a code does.
        """
        n, D = vectors.shape
        centred, sq_sizes = np.empty((n, self._project.depth), dtype=np.float32), np.empty(n)
        centre_parts(np.ascontiguousarray(vectors), self._centre, self._project.groups, centred, sq_sizes)
        points: Floats = self._project(torch.from_numpy(centred)).numpy()
        # Of |x|: the products' error, and what that and the squares' are of the square of the residual norm.
        most = min(D, SUMMED)
        moved = sqrt(self._inside) * (most + D / SUMMED + 4) * UNIT
        part = 2 * moved + moved**2 + (most + 2) * UNIT
        add_residuals(points, self._inside, sq_sizes, self._middle, moved, part, 4 * UNIT, rounding)
        return points


@compiled
def least_product(
    reach: float, error: float, sq: float, query_error: float, beyond: float, rounding: float, step: float
) -> int:
    """`CodeSpace.least` of one query: its reach, the rows' error, what `Coded` says of it, and the step."""
    near = reach * (1 + SLIGHTLY) + error + rounding
    outside = beyond * (1 - SLIGHTLY)
    far = sqrt(max(near * near - outside * outside, 0.0))
    steps = (far + query_error) * ((1 + SLIGHTLY) / step)
    return int(max(np.floor((sq - steps * steps) / 2) + (MOST_HALF - 1), LOWEST))


@compiled
def _least_of_each(
    reach: Doubles,
    error: float,
    sq: Floats,
    query_error: Floats,
    beyond: Floats,
    rounding: Floats,
    step: float,
    least: NDArray[np.int32],
) -> None:
    for i in range(len(reach)):
        least[i] = least_product(reach[i], error, sq[i], query_error[i], beyond[i], rounding[i], step)


def code_dtype() -> torch.dtype:
    """The type in which this machine multiplies codes soonest: int8, int16 or float32, with the same whole numbers."""
    if exact_int8():
        return torch.int8
    return torch.int16 if words_pay() else torch.float32


def code_products(queries: Codes, rows: torch.Tensor) -> NDArray[Any]:
    """Products of codes of queries, (n, W), and of rows, (M, W) as `code_dtype`, valid until this thread's next call.

    They are whole numbers: int32 (n, M), or float32 where the rows' codes are: sums below 2^24.
    """
    room = _room(len(queries) * len(rows)).view(len(queries), len(rows))
    asked = torch.from_numpy(queries)
    if rows.dtype == torch.int8:
        return torch._int_mm(asked, rows.T, out=room).numpy()
    if rows.dtype == torch.int16:
        products: NDArray[np.int32] = room.numpy()
        word_products(queries, rows.numpy(), products)
        return products
    return torch.mm(asked.float(), rows.T, out=room.view(torch.float32)).numpy()


def _room(values: int) -> torch.Tensor:
    """Memory of this thread, int32 (values,): new memory of this size would cost as much as the products."""
    room: torch.Tensor | None = getattr(_THREAD, "room", None)
    if room is None or len(room) < values:
        with torch.inference_mode(False):  # whoever asks first: others may not write to it otherwise
            room = _THREAD.room = torch.empty(values, dtype=torch.int32)
    return room[:values]


@lru_cache(maxsize=1)
def exact_int8() -> bool:
    """Whether 8-bit products are there, sum without saturation on this machine, and pay.

    Where a processor adds two products in 16 bits first, the largest of one sign saturate, and those of mixed signs do
    not. Where it has no instructions for them, PyTorch multiplies one by one, which takes ten times as long as float32.
    Who holds PyTorch to narrower instructions than the processor has means these products too, which do not heed it.
    """
    if os.environ.get("ATEN_CPU_CAPABILITY") in ("default", "avx2"):
        return False
    signs = torch.tensor([[1, 1], [-1, -1], [1, -1], [-1, 1]], dtype=torch.int8)
    extremes = signs.repeat(64, 64) * LARGEST
    rows = extremes.repeat(4, 1)
    out = torch.empty(len(extremes), len(rows), dtype=torch.int32)

    def in_8_bits() -> torch.Tensor:
        return torch._int_mm(extremes, rows.T, out=out)

    def in_float32() -> torch.Tensor:
        return torch.mm(extremes.float(), rows.T.float())

    try:
        exact = torch.equal(in_8_bits(), in_float32().int())
    except (AttributeError, RuntimeError):
        return False
    return exact and quickest_s(in_8_bits, clock=perf_counter) < CRAWL * quickest_s(in_float32, clock=perf_counter)
