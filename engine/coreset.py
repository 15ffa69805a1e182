"""Exact greedy k-center (Gonzalez, 1985: a 2-approximation), the coreset of PatchCore's Algorithm 1.

Each step takes the vector farthest from all centres so far, ties to the lowest index. Vectors are 16-bit integers with
one scale, so squared distances are integers that float64 holds exactly in any order of summation: the same vectors give
the same rows on any machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (centres chosen, centres wanted)."""


@dataclass(frozen=True, slots=True)
class Coreset:
    """Chosen rows, in the order of choice, and how far the farthest vector is from them.

    `indices` is int64 (M,). M is below the count asked for only where the vectors have fewer distinct values: a second
    copy of a row covers nothing. `radius` is L2 in the units of the embedding (scale times the integers' distance).
    """

    indices: NDArray[np.int64]
    radius: float


def greedy_coreset(
    vectors: NDArray[np.int16],
    count: int,
    *,
    seed: int,
    scale: float = 1.0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Coreset:
    """Choose `count` of `vectors`, int16 (N, D) in memory or memory-mapped, by exact greedy k-center.

    The first centre is drawn with `seed`. Raises ValueError for an empty or wrongly shaped or typed array and for a
    count outside 1 ... N.
    """
    if vectors.ndim != 2 or vectors.dtype != np.int16 or 0 in vectors.shape:
        raise ValueError(f"vectors: found {vectors.dtype} {vectors.shape}, expected int16 (N, D), neither of them 0")
    total = len(vectors)
    if not 1 <= count <= total:
        raise ValueError(f"count: found {count}, expected 1 to {total}, the number of vectors")
    sq_nearest = np.full(total, np.inf)
    chosen = [int(np.random.default_rng(seed).integers(total))]
    _apply(vectors, np.array(chosen), sq_nearest, device)
    while len(chosen) < count:
        block = _choose_block(vectors, sq_nearest, count - len(chosen))
        if not block:
            break
        chosen += block
        _apply(vectors, np.array(block), sq_nearest, device)
        if progress is not None:
            progress(len(chosen), count)
    return Coreset(np.array(chosen, dtype=np.int64), scale * float(np.sqrt(max(0.0, sq_nearest.max()))))


def _apply(
    vectors: NDArray[np.int16], centres: NDArray[np.int64], sq_nearest: NDArray[np.float64], device: str
) -> None:
    """Lower `sq_nearest` (N,) to the squared distance to the nearest of `centres`; centres themselves become -1."""
    C = torch.from_numpy(vectors[centres]).to(device, torch.float64)
    sq_C = C.square().sum(1)
    step = 8192
    for start in range(0, len(vectors), step):
        X = torch.from_numpy(np.ascontiguousarray(vectors[start : start + step])).to(device, torch.float64)
        sq = torch.addmm(sq_C, X, C.T, alpha=-2).amin(1).add_(X.square().sum(1)).cpu().numpy()
        np.minimum(sq_nearest[start : start + step], sq, out=sq_nearest[start : start + step])
    sq_nearest[centres] = -1.0


def _choose_block(
    vectors: NDArray[np.int16], sq_nearest: NDArray[np.float64], wanted: int, size: int = 512
) -> list[int]:
    """The next centres in greedy order, as many as the `size` farthest vectors alone can prove."""
    size = min(size, len(sq_nearest))
    bar = float(np.partition(sq_nearest, -size)[-size])  # no vector outside the block is farther than this
    above = np.flatnonzero(sq_nearest > bar)
    level = np.flatnonzero(sq_nearest == bar)
    block = np.sort(np.concatenate([above, level[: size - len(above)]]))
    outside = level[size - len(above)] if len(level) > size - len(above) else len(sq_nearest)
    X = vectors[block].astype(np.float64)
    norms = np.einsum("nd,nd->n", X, X)
    sq_mutual = norms[:, None] + norms - 2 * X @ X.T
    sq = sq_nearest[block]
    chosen: list[int] = []
    while len(chosen) < wanted:
        best = int(sq.argmax())
        if sq[best] <= 0 or sq[best] < bar or (sq[best] == bar and block[best] > outside):
            break
        chosen.append(int(block[best]))
        np.minimum(sq, sq_mutual[best], out=sq)
        sq[best] = -1.0
    return chosen
