"""Linear projections: principal axes, which keep the most, and Johnson-Lindenstrauss, which needs no data."""

import numpy as np
from numpy.typing import NDArray


def principal_axes(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal axes of rows (n, D) already centred, by falling variance, float64 (D, D), one axis a column."""
    return np.ascontiguousarray(np.linalg.eigh(centred.T @ centred)[1][:, ::-1])


def johnson_lindenstrauss(vectors: NDArray[np.int16], width: int, seed: int) -> NDArray[np.int16]:
    """`vectors`, int16 (N, D), in `width` random directions, int16 (N, width); all distances by one common factor.

    Directions are Gaussian, drawn with `seed` (PatchCore's Algorithm 1). The factor makes the largest value fit.
    """
    directions = np.random.default_rng([seed, width]).normal(size=(vectors.shape[1], width))
    step = max(1, 2**22 // vectors.shape[1])
    largest = 1.0
    for start in range(0, len(vectors), step):
        largest = max(largest, float(np.abs(vectors[start : start + step].astype(np.float64) @ directions).max()))
    projected = np.empty((len(vectors), width), dtype=np.int16)
    directions *= 32767 / largest
    for start in range(0, len(vectors), step):
        projected[start : start + step] = np.rint(vectors[start : start + step].astype(np.float64) @ directions)
    return projected
