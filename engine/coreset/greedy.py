"""Exact greedy k-center (Gonzalez, 1985: a 2-approximation), the coreset of PatchCore's Algorithm 1.

Each step takes the vector farthest from all centres so far, ties to the lowest index. Vectors are 16-bit integers with
one scale, so squared distances are integers that float64 holds exactly in any order of summation: the same vectors give
the same rows on any machine.

The cost is matrix products, not one pass over the data for each centre: of a block of the farthest vectors, the greedy
order within the block is the greedy order of all, for as long as the block's best lies farther than every vector
outside it. Centres are chosen so, exactly, and then applied to all vectors by one product (`coreset.centre_distances`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.centre_distances import CentreDistances
from patchline.engine.numerics.projection import johnson_lindenstrauss

CoresetProgress: TypeAlias = Callable[[int, int], None]
"""Called with (centres chosen, centres wanted)."""

SMALLEST_BLOCK, LARGEST_BLOCK, LARGEST_LAZY_BLOCK = 512, 2048, 1024
"""Vectors among which the next centres are found at a time: where a block costs little by itself, the distances within
it are what it costs, and grow by the square.
"""


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
    projection: int | None = None,
    scratch: Path | None = None,
    progress: CoresetProgress | None = None,
) -> Coreset:
    """Choose some of many vectors by exact greedy k-center.

    Args:
        vectors: int16 (N, D), in memory or memory-mapped.
        count: how many to choose, 1 to N.
        seed: draws the first centre, and the projection.
        scale: what one unit of the vectors stands for.
        device: where distances are computed.
        projection: choose in so many random dimensions, 1 to D (Algorithm 1's Johnson-Lindenstrauss projection); the
            radius is that of the original space all the same.
        scratch: a folder; the projected vectors are left on a file there. They lie in memory where it is None.
        progress: told how many centres are chosen, of how many.

    Raises:
        ValueError: the array is empty or of another shape or type, or a number lies outside its range.
    """
    if vectors.ndim != 2 or vectors.dtype != np.int16 or 0 in vectors.shape:
        raise ValueError(f"vectors: found {vectors.dtype} {vectors.shape}, expected int16 (N, D), neither of them 0")
    if not 1 <= count <= len(vectors):
        raise ValueError(f"count: found {count}, expected 1 to {len(vectors)}, the number of vectors")
    if projection is None:
        distances = CentreDistances(vectors, device)
        indices = _greedy(distances, count, seed, progress)
    else:
        if not 1 <= projection <= vectors.shape[1]:
            raise ValueError(f"projection: found {projection}, expected 1 to {vectors.shape[1]}, the dimensions")
        file = None if scratch is None else scratch / "projected"
        projected = johnson_lindenstrauss(vectors, projection, seed, file)
        indices = _greedy(CentreDistances(projected, device), count, seed, progress)
        distances = CentreDistances(vectors, device)
        for start in range(0, len(indices), LARGEST_BLOCK):
            distances.add(indices[start : start + LARGEST_BLOCK])
    return Coreset(indices, scale * float(np.sqrt(distances.farthest()[1])))


def _greedy(distances: CentreDistances, count: int, seed: int, progress: CoresetProgress | None) -> NDArray[np.int64]:
    chosen = [int(np.random.default_rng(seed).integers(len(distances)))]
    distances.add(np.array(chosen))
    size, largest = SMALLEST_BLOCK, LARGEST_LAZY_BLOCK if distances.lazy else LARGEST_BLOCK
    while len(chosen) < count:
        block = _choose_block(distances, size, count - len(chosen))
        if len(block) * 2 > size:
            size = min(size * 2, largest)
        elif len(block) * 8 < size:
            size = max(size // 2, SMALLEST_BLOCK)
        if not block:  # rounding or equal distances leave the order open: one exact step over all
            farthest, sq = distances.farthest()
            if sq == 0:
                break
            block = [farthest]
        distances.add(np.array(block))
        chosen += block
        if progress is not None:
            progress(len(chosen), count)
    return np.array(chosen, dtype=np.int64)


def _choose_block(distances: CentreDistances, size: int, wanted: int) -> list[int]:
    """The next centres in greedy order, as many as the `size` farthest vectors alone can prove."""
    block, sq, bar = distances.top(size)  # ascending rows: argmax takes the lowest of equals
    sq_mutual = distances.sq_mutual(block)
    chosen: list[int] = []
    while len(chosen) < wanted:
        best = int(sq.argmax())
        if sq[best] <= bar or sq[best] <= 0:
            break
        chosen.append(int(block[best]))
        np.minimum(sq, sq_mutual[best], out=sq)
    return chosen
