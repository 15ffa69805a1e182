"""Which pairs of a vector and a centre may be near, and how far they are: in float32, and exactly.

Which pairs may be near is told in one of two ways. While most vectors move, products in all D dimensions are the
cheapest. Once a centre moves few vectors, cheap lower bounds (`coreset.lower_bounds`) rule out most pairs, and only
the others are measured, as sums of squared differences. What was left of the pairs last says which way is cheaper.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchline.engine.coreset.lower_bounds import make_bounds, rounding
from patchline.engine.coreset.nearest_centres import UNKNOWN, flat_nonzero
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.search.index import FOLD, sq_pairs

COMPARED_VALUES = 2**21
"""Bounds or distances computed at a time on a CPU: 8 MiB, a share of the last-level cache."""
GPU_COMPARED_VALUES = 2**28
"""The same on a GPU, 1 GiB: the host waits once for each chunk, never for a centre."""
MEASURED_VALUES = 2**19
"""Values of vectors measured at a time: what lies between the steps stays in the cache."""
GATHER_VALUES = 2**24
"""Values of vectors converted at a time on a CPU: 64 MiB, however few centres they are compared with."""
CACHE_BYTES = 2**29
"""What is kept for speed alone: what bounds are made of and, where room is left, the vectors as float32. Else they
are converted as they are needed. On a GPU it is half of what is free there.
"""
SAMPLED_VECTORS = 4096
"""Vectors by which the axes are found, and pairs measured exactly at a time."""
MEASURED_COST, GATHERED_COST, PASS_COST = 8, 100, 40
"""In multiply-adds of a matrix product: measuring one value of a pair, the same where vectors have to be converted
first, and the passes over one bound.
"""


class CandidatePairs:
    """The pairs of `vectors`, int16 (N, D), and the centres among them that were added so far.

    Attributes:
        centres: int64 (M,) on the device, in order; the number of a centre is its index there.
        error: how far squared distances of `sq` may be off, relative to them.
        kept: whether anything is kept of each vector, so that it need not be read to be left out.
    """

    def __init__(self, vectors: NDArray[np.int16], device: torch.device) -> None:
        self._vectors = vectors
        self._device = device
        on_gpu = device.type == "cuda"
        self._chunk_values = GPU_COMPARED_VALUES if on_gpu else COMPARED_VALUES
        self._gather_values = GPU_COMPARED_VALUES if on_gpu else GATHER_VALUES
        bytes_each = (torch.cuda.mem_get_info(device)[0] // 2 if on_gpu else CACHE_BYTES) // len(vectors)
        total, dimensions = vectors.shape
        sample = vectors[:: max(1, total // SAMPLED_VECTORS)].astype(np.float64)
        self._origin = np.rint(sample.mean(0)).astype(np.float32)  # distances stay, norms and so errors shrink
        self._sq_norms = torch.empty(total, device=device)
        self._bounds, taken = make_bounds(sample - self._origin, self._sq_norms, bytes_each)
        keep = dimensions * 4 + taken <= bytes_each
        self._floats = torch.empty((total, dimensions), device=device) if keep else None
        step = max(1, MEASURED_VALUES // dimensions)
        for start in range(0, total, step):
            self._measure(slice(start, min(start + step, total)))
        self.centres = torch.empty(0, dtype=torch.int64, device=device)
        self.error = (dimensions + 3) * UNIT
        self.kept = self._floats is not None or self._bounds is not None
        self._left = 0.0

    def add(self, centres: Tensor) -> None:
        """Make vectors, int64 (s,) on the device, centres."""
        self.centres = torch.cat([self.centres, centres])
        if self._bounds is not None:
            self._bounds.add(centres)
        self._left /= 2  # centres move ever fewer vectors: what was too many pairs may not be

    def pays(self, numbers: slice) -> bool:
        """Whether bounds, for these centres, are cheaper than products: they are where few pairs are left."""
        if self._bounds is None or numbers.stop <= self._bounds.width or numbers.stop - numbers.start < FOLD:
            return False
        cost = GATHERED_COST if self._floats is None else MEASURED_COST
        return self._left * cost * len(self._origin) + self._bounds.width + PASS_COST < len(self._origin)

    def pairs(self, rows: slice | Tensor, upper: Tensor, numbers: slice, by_bounds: bool) -> tuple[Tensor, Tensor]:
        """Pairs of vectors and centres that may be within what is known of the vector, and its nearest of these.

        Args:
            rows: which vectors, n of them.
            upper: float32 (n,), upper bounds of their squared distances to the nearest centre.
            numbers: of the centres, as the order of adding gives them.
            by_bounds: whether bounds tell, which `pays` for finite `upper`, or products.

        Returns:
            Indices into `rows` and numbers of centres, int64 (p,) each.
        """
        count = numbers.stop - numbers.start
        if by_bounds and self._bounds is not None:
            pair_rows, pair_centres = self._bounds.pairs(rows, upper, numbers)
            self._left = len(pair_rows) / (len(upper) * count)
            return pair_rows, pair_centres + numbers.start
        products, sq_norms = self._products(rows, numbers), self._sq_norms[rows]
        upper = torch.minimum(upper, products.amin(1).add_(sq_norms))
        limit = upper + rounding(upper, 2 * len(self._origin), sq_norms) - sq_norms
        pairs = flat_nonzero(products <= limit[:, None])
        return pairs // count, pairs % count + numbers.start

    def least(self, rows: slice, numbers: slice) -> tuple[Tensor, Tensor]:
        """Squared distances of vectors to the nearest of some centres, by products, float32 (n,), and their errors."""
        sq_norms = self._sq_norms[rows]
        sq = self._products(rows, numbers).amin(1).add_(sq_norms)
        return sq, rounding(sq, len(self._origin), sq_norms)

    def sq(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Squared distances of vectors to one centre each, float32 (p,), as sums of squared differences."""
        centres = self.centres[numbers]
        if self._floats is not None and self._device.type == "cpu":
            floats = self._floats.numpy()
            return torch.from_numpy(sq_pairs(floats, rows.numpy(), floats, centres.numpy()))
        sq = torch.empty(len(rows), device=self._device)
        step = max(1, 2 * self._chunk_values // len(self._origin))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            sq[part] = (self._values(rows[part]) - self._values(centres[part])).square_().sum(1)
        return sq

    def exact(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact squared distances of vectors to one centre each, float64 (p,)."""
        centres = self.centres.cpu().numpy()
        sq = np.empty(len(rows))
        step = max(1, MEASURED_VALUES // len(self._origin) // 4)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            difference = self._vectors[rows[part]].astype(np.float64) - self._vectors[centres[numbers[part]]]
            sq[part] = np.einsum("nd,nd->n", difference, difference)
        return sq

    def nearest(self, rows: Tensor, upper: Tensor) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Exact squared distances of a few vectors to their nearest centres, float64 (r,), and those' numbers, (r,)."""
        total, pairs = len(self.centres), []
        for start in range(0, total, SAMPLED_VECTORS):
            pairs.append(self.pairs(rows, upper, slice(start, min(start + SAMPLED_VECTORS, total)), by_bounds=True))
        pair_rows, pair_centres = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        sq = self.sq(rows[pair_rows], pair_centres)
        least = torch.full_like(upper, torch.inf).scatter_reduce_(0, pair_rows, sq, "amin")
        left = sq <= least[pair_rows] * (1 + 4 * self.error)  # whatever their rounding
        left_rows, left_centres = pair_rows[left].cpu().numpy(), pair_centres[left].cpu().numpy()
        exact = self.exact(rows.cpu().numpy()[left_rows], left_centres)
        shortest, nearest = np.full(len(rows), np.inf), np.full(len(rows), UNKNOWN)
        np.minimum.at(shortest, left_rows, exact)
        is_nearest = exact == shortest[left_rows]
        nearest[left_rows[is_nearest]] = left_centres[is_nearest]
        return shortest, nearest

    def mutual(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact squared distances among vectors, float64 (r, r)."""
        X = torch.from_numpy(self._vectors[rows].astype(np.float64) - self._origin).to(self._device)
        norms = X.square().sum(1)
        return (norms + norms[:, None]).addmm_(X, X.T, alpha=-2).cpu().numpy()

    def steps(self, part: slice, count: int) -> Iterator[slice]:
        """As many vectors of `part` at a time as are compared with `count` centres at a time."""
        step = max(256, min(self._chunk_values // count, self._gather_values // len(self._origin)))
        return (slice(start, min(start + step, part.stop)) for start in range(part.start, part.stop, step))

    def _products(self, rows: slice | Tensor, numbers: slice) -> Tensor:
        centres = self.centres[numbers]
        return torch.addmm(self._sq_norms[centres], self._values(rows), self._values(centres).T, alpha=-2)

    def _values(self, rows: slice | Tensor) -> Tensor:
        """Vectors less the origin, float32 (n, D): exact, since both are integers below 2^24."""
        if self._floats is not None:
            return self._floats[rows]
        picked = self._vectors[rows if isinstance(rows, slice) else rows.cpu().numpy()]
        origin = torch.from_numpy(self._origin).to(self._device)
        picked = np.require(picked, requirements=("C", "W"))  # torch wants memory that it might write to
        return torch.from_numpy(picked).to(self._device, torch.float32).sub_(origin)

    def _measure(self, part: slice) -> None:
        """Norms of some vectors, and what bounds are made of."""
        centred = self._vectors[part].astype(np.float32)  # exact, as in `_values`
        centred -= self._origin
        sq_norms = torch.from_numpy(centred).double().square_().sum(1)
        self._sq_norms[part] = sq_norms.to(self._device, torch.float32)
        if self._floats is not None:
            self._floats[part] = torch.from_numpy(centred).to(self._device)
        if self._bounds is not None:
            self._bounds.note(part.start, centred)
