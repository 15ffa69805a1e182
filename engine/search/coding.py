"""Compiled passes that make codes of vectors (`search.int8_codes`): a handful of calls, whatever the dimensions.

As operations of a library these were some twenty for each frame, and after each of them a core's frame waited for the
interpreter, which another core's frame had: over a small bank that took longer than the search itself.
"""

from math import sqrt

import numpy as np

from patchline.engine.numerics.compiled import compiled
from patchline.engine.types import Codes, Doubles, Floats

TINY = 1e-30
"""Less than any residual norm that matters, to divide by."""


@compiled
def centre_parts(vectors: Floats, centre: Floats, groups: int, centred: Floats, sq_sizes: Doubles) -> None:
    """Write vectors, (n, D), less their centre, (D,), to `centred`, (n, depth), and |x|^2 to `sq_sizes`, (n,).

    Squares are summed as float32 within each of `groups` equal parts of the depth, and the parts' sums as float64.
    Values from D on become zeros.
    """
    n, D = vectors.shape
    each = centred.shape[1] // groups
    for i in range(n):
        total = 0.0
        for group in range(groups):
            # Parts of their own, so that the compiler sees that no place is counted from the end.
            own = slice(group * each, min((group + 1) * each, D))
            vector, middle, result = vectors[i, own], centre[own], centred[i, own]
            part = np.float32(0)
            for d in range(len(result)):
                value = vector[d] - middle[d]
                result[d] = value
                part += value * value
            total += float(part)
        centred[i, D:] = 0
        sq_sizes[i] = total


@compiled
def add_residuals(
    points: Floats,
    inside: int,
    sq_sizes: Doubles,
    middle: float,
    moved: float,
    part: float,
    unit: float,
    rounding: Floats,
) -> None:
    """Write each vector's residual norm, less the middle, beside its values on the axes; and what rounding may do.

    Args:
        points: float32 (n, K + 1 or more), contiguous, the vectors' values on the axes; value K is written.
        inside: axes, K.
        sq_sizes: float64 (n,), the vectors' squared norms.
        middle: is taken off the residual norms.
        moved: what rounding may have moved the values on the axes by, relative to |x|.
        part: what it may have moved the square of the residual norm by, relative to |x|^2.
        unit: what the operations on each value before and after may have moved all by, relative to |x|.
        rounding: float32 (n,), how far rounding may have moved a point, is written.
    """
    for i in range(len(points)):
        point = points[i]
        sq_within = 0.0
        for value in point[:inside]:
            sq_within += np.float64(value) * np.float64(value)
        size, within = sqrt(sq_sizes[i]), sqrt(sq_within)
        outside = sqrt(max((size - within) * (size + within), 0.0))
        point[inside] = outside - middle
        of_residual = min(size * sqrt(part), size * size * part / max(outside, TINY))
        rounding[i] = of_residual + size * (moved + unit)


@compiled
def round_to_codes(
    points: Floats, step: float, largest: int, digits: int, codes: Codes, sq: Floats, error: Floats, beyond: Floats
) -> None:
    """Write the codes of points, and what `int8_codes.Coded` says of them.

    Args:
        points: float32 (n, K + 1 or more), contiguous; what is beyond K + 1 values does not count.
        step: that values are divided by.
        largest: the largest value of a code.
        digits: values of a code after the K + 1, by which those of rows are multiplied: 1, and `largest` for the rest.
        codes: int8 (n, K + 1 + digits), is written.
        sq: float32 (n,), is written, as are the others.
        error: as `sq`.
        beyond: as `sq`.
    """
    values = codes.shape[1] - digits
    by, most = np.float32(step), np.float32(largest)
    for i in range(len(points)):
        point, code = points[i], codes[i]
        norm = off = out = np.float32(0)
        for k in range(values):
            value = point[k] / by
            inside = min(max(value, -most), most)
            whole = np.rint(inside)
            code[k] = np.int8(whole)
            norm += whole * whole
            off += (inside - whole) * (inside - whole)
            out += (value - inside) * (value - inside)
        code[values] = 1
        for k in range(values + 1, values + digits):
            code[k] = largest
        sq[i] = norm
        error[i] = sqrt(off) * step
        beyond[i] = sqrt(out) * step
