"""Linear projections: principal axes, which keep the most, and Johnson-Lindenstrauss, which needs no data."""

from pathlib import Path

import numpy as np
import torch

from patchline.engine.numerics.matmul import product
from patchline.engine.types import Doubles, Floats, Rows

SAMPLE = 8192
"""Rows from which axes are found, where there are more."""
PROJECTED_VALUES = 2**20
"""Values projected at a time: 8 MiB as float64."""


def principal_axes(centred: Doubles) -> Doubles:
    """Orthonormal axes of rows (n, D) already centred, by falling variance, float64 (D, D), one axis a column."""
    axes: Doubles = torch.linalg.eigh(torch.from_numpy(product(centred.T, centred)))[1].numpy()
    return np.ascontiguousarray(axes[:, ::-1])


def sampled_axes(rows: Floats, centre: Doubles) -> Doubles:
    """The principal axes of rows, float32 (M, D), about `centre`, float64 (D,): float64 (D, D), one axis a column.

    They are those of `SAMPLE` to twice as many of the rows, evenly spaced, as more would change them little.
    """
    return principal_axes(rows[:: max(1, len(rows) // SAMPLE)].astype(np.float64) - centre)


def with_residual(centred: Doubles, axes: Doubles, sq_norms: Doubles) -> Doubles:
    """Project vectors x on orthonormal axes P, and add the length of what lies off the axes: (Px, e(x)).

    With e(x) = sqrt(|x|^2 - |Px|^2), no two vectors come to lie farther apart, by Pythagoras and the triangle
    inequality.

    Args:
        centred: float64 (n, D).
        axes: float64 (D, K), an axis a column.
        sq_norms: float64 (n,), the vectors' squared lengths |x|^2.

    Returns:
        float64 (n, K + 1).
    """
    inside = product(centred, axes)
    sq_outside = sq_norms - np.einsum("nk,nk->n", inside, inside)
    return np.concatenate([inside, np.sqrt(np.maximum(sq_outside, 0.0))[:, None]], axis=1)


def johnson_lindenstrauss(vectors: Rows, width: int, seed: int, file: Path | None = None) -> Rows:
    """Project vectors on random directions, Gaussian ones (PatchCore's Algorithm 1), which keeps distances nearly.

    Args:
        vectors: int16 (N, D).
        width: how many directions.
        seed: what they are drawn with.
        file: a path to be overwritten; the result is then a memory map of it.

    Returns:
        int16 (N, width), scaled by one factor such that the largest value fits.
    """
    directions = np.random.default_rng([seed, width]).normal(size=(vectors.shape[1], width))
    step = max(1, PROJECTED_VALUES // vectors.shape[1])
    largest = 1.0
    for start in range(0, len(vectors), step):
        largest = max(largest, float(np.abs(vectors[start : start + step].astype(np.float64) @ directions).max()))
    shape = (len(vectors), width)
    projected = np.empty(shape, np.int16) if file is None else np.memmap(file, np.int16, "w+", shape=shape)
    directions *= 32767 / largest
    for start in range(0, len(vectors), step):
        projected[start : start + step] = np.rint(vectors[start : start + step].astype(np.float64) @ directions)
    return projected
