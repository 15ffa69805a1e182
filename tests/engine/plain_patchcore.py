"""PatchCore as the paper has it (Roth et al., CVPR 2022), in plain float64 NumPy: what the engine is measured against.

Nothing is shared with the engine: no FAISS, no torch, no blocks, no stored integers. Every step is the formula.
Where the paper leaves a choice open, it is the one of the authors' code: zeros beyond the border count in the 3x3
average, maps are aligned and enlarged bilinearly with half-pixel centres, m* is one of its own b neighbours. At the
map's border the Gaussian mirrors the image about its outermost pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PlainInspection:
    """Score (Eq. 7), the patch and the row of Eq. 6, and the map (H, W)."""

    score: float
    worst_patch: int
    nearest_row: int
    anomaly_map: Array


def aggregate(feature_map: Array) -> Array:
    """Each position of (C, h, w) becomes the mean of its 3x3 neighbourhood."""
    _, h, w = feature_map.shape
    padded = np.pad(feature_map, ((0, 0), (1, 1), (1, 1)))
    neighbours = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return np.asarray(sum(neighbours) / 9.0)


def enlarge(feature_map: Array, size: tuple[int, int]) -> Array:
    """Bilinear interpolation of (C, h, w) to `size`, pixel centres at half-integers, edges held."""
    _, h, w = feature_map.shape
    y = np.clip((np.arange(size[0]) + 0.5) * h / size[0] - 0.5, 0, h - 1)
    x = np.clip((np.arange(size[1]) + 0.5) * w / size[1] - 0.5, 0, w - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    bottom, right = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    b, r = (y - top)[:, None], (x - left)[None, :]
    return np.asarray(
        feature_map[:, top][:, :, left] * (1 - b) * (1 - r)
        + feature_map[:, top][:, :, right] * (1 - b) * r
        + feature_map[:, bottom][:, :, left] * b * (1 - r)
        + feature_map[:, bottom][:, :, right] * b * r
    )


def embed(feature_maps: Sequence[NDArray[np.float32]]) -> Array:
    """Feature maps (C_i, h_i, w_i) of one frame, finest first, to patch embeddings (h*w, D)."""
    maps = [aggregate(m.astype(np.float64)) for m in feature_maps]
    size = (maps[0].shape[1], maps[0].shape[2])
    joined = np.concatenate([maps[0], *(enlarge(m, size) for m in maps[1:])])
    return np.asarray(joined.reshape(len(joined), -1).T)


def distances(bank: Array, query: Array) -> Array:
    """L2 distance of every row of `bank` (M, D) to `query` (D,)."""
    return np.asarray(np.sqrt(((bank - query) ** 2).sum(axis=1)))


def greedy_coreset(vectors: Array, count: int, first: int) -> tuple[list[int], float]:
    """Algorithm 1 without projection: one pass over all vectors (N, D) for each centre. Also the covering radius."""
    chosen = [first]
    nearest = distances(vectors, vectors[first])
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances(vectors, vectors[chosen[-1]]))
    return chosen, float(nearest.max())


def inspect(
    bank: Array, embeddings: Array, grid: tuple[int, int], size_px: tuple[int, int], neighbours: int, sigma: float
) -> PlainInspection:
    """Judge one frame: Eq. 6, Eq. 7, and the map."""
    to_bank = [distances(bank, e) for e in embeddings]
    nearest = np.array([d.min() for d in to_bank])
    worst = int(nearest.argmax())
    m_star = int(to_bank[worst].argmin())
    s_star = nearest[worst]

    support = np.argsort(distances(bank, bank[m_star]), kind="stable")[:neighbours]
    # Both exponentials divided by the same one, so that large distances do not overflow.
    d_support = to_bank[worst][support]
    weight = 1 - np.exp(s_star - d_support.max()) / np.exp(d_support - d_support.max()).sum()

    enlarged = enlarge(nearest.reshape(1, *grid), size_px)[0]
    smooth = gaussian_filter(enlarged, sigma, mode="mirror", truncate=4.0) if sigma > 0 else enlarged
    return PlainInspection(score=float(weight * s_star), worst_patch=worst, nearest_row=m_star, anomaly_map=smooth)
