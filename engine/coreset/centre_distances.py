"""How far every vector lies from a growing set of centres: float32 bounds every distance, exact integers decide.

Of each vector 16 bytes are kept: its squared norm, and what `coreset.nearest_centres` knows. The exact distance is
found only for the few vectors that may be the next centre. Whatever else is made for all vectors is made in parts.

An upper bound stays one whatever centres come. So a vector is compared with centres only once its bound is among the
largest: with those that vectors beside it in the array are near to (`coreset.locality`), then with all that it was not
compared with before, in order. Most vectors soon lie nearer to a centre than any vector that is chosen later, and are
left alone. Where a vector would have to be read for that, where its place says nothing about it (without hints a late
comparison has so loose a bound that nothing is gained), and on a GPU, new centres are compared with all vectors.

Floor for M centres, N vectors and blocks of s: the products of M vectors with all centres before them, N of the first
ones with a few, and M s among those of a block in float64.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchline.engine.coreset.candidate_pairs import COMPARED_VALUES, SAMPLED_VECTORS, CandidatePairs
from patchline.engine.coreset.locality import strides
from patchline.engine.coreset.nearest_centres import UNKNOWN, NearestCentres
from patchline.engine.numerics.device import full_float32
from patchline.engine.numerics.rounding import UNIT

PART = 2**22
"""Vectors whose distances are looked through at a time."""
SELECTED = 2**20
"""Vectors that tell above which bound the farthest lie."""
RANGE = 2048
"""Centres that vectors are compared with before those are left out that have turned out to be near enough."""
EVERY, ENOUGH = 8, 4
"""Where more than `ENOUGH` times as many vectors as asked for are to be compared, one in `EVERY` of them comes first:
those beside it may do with what it finds.
"""
HINTS = 2
"""How often in a row vectors ask those beside them."""
FEW_VECTORS = 512
"""Vectors looked at where one is sought, and measured at a time."""
LAZY_ON = ("cpu",)
"""Devices on which to pick vectors costs little beside comparing them."""


class CentreDistances:
    """Distances of `vectors`, int16 (N, D), to the nearest of the centres added so far."""

    def __init__(self, vectors: NDArray[np.int16], device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._total = len(vectors)
        self._nearest = NearestCentres(self._total, self._device)
        self._pairs = CandidatePairs(vectors, self._device)
        self._strides = strides(vectors) if self._device.type in LAZY_ON and self._pairs.kept else ()
        self._stale = 1.0

    def __len__(self) -> int:
        return self._total

    @property
    def lazy(self) -> bool:
        """Whether a new centre costs nothing for vectors that lie far from mattering, so that small blocks do."""
        return bool(self._strides)

    def add(self, rows: NDArray[np.int64]) -> None:
        """Make `rows`, int64 (s,), centres."""
        if not len(rows):
            return
        centres, numbers = torch.from_numpy(rows).to(self._device), slice(self._known, self._known + len(rows))
        with full_float32(self._device):
            self._pairs.add(centres)
            if not self.lazy:
                self._compare_all(numbers)
            elif not numbers.start:
                for part in self._pairs.steps(slice(0, len(self)), len(rows)):
                    self._compare(part, numbers)
        self._nearest.add(centres, numbers)

    def top(self, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """The about `size` farthest vectors: rows ascending, exact squared distances, and what no other exceeds.

        Rows are none where all vectors are centres.
        """
        count, step = max(size, int(size * self._stale)), max(1, len(self) // SELECTED)
        while True:
            rows, bar = self._nearest.highest(count, self._parts(), step)
            full, compared = self._refresh(rows, bar, size)
            if 2 * len(full) >= size or not compared:
                break
            count = int(count * min(max(2.0, size / max(1, len(full))), 4.0))
        self._stale = max(len(rows) / max(1, len(full)), self._stale / 2, 1.0)
        if len(full) > size:
            largest, picked = self._nearest.upper[full].topk(size + 1)
            full, bar = full[picked[:size]].sort().values, float(largest[size])
        return full.cpu().numpy(), self._exact(full), bar

    def farthest(self) -> tuple[int, float]:
        """The vector farthest from all centres, the lowest of equals, and its exact squared distance."""
        rows, sq, bar = self.top(min(FEW_VECTORS, len(self)))
        if not len(rows):
            return int(self._pairs.centres[0]), 0.0  # every vector is a centre
        if sq.max() <= bar:  # others may lie as far
            least = float(sq.max()) * (1 - 4 * UNIT)
            full, _ = self._refresh(self._nearest.at_least(least, self._parts()), least, FEW_VECTORS)
            rows, sq = full.cpu().numpy(), self._exact(full)
        best = int(sq.argmax())
        return int(rows[best]), float(sq[best])

    def sq_mutual(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact squared distances among `rows`, float64 (r, r)."""
        return self._pairs.mutual(rows)

    @property
    def _known(self) -> int:
        return len(self._pairs.centres)

    def _refresh(self, rows: Tensor, bar: float, wanted: int) -> tuple[Tensor, int]:
        """Compare `rows`, int64 (r,) ascending, with all centres, but for those that turn out to lie below `bar`.

        Returns those that do not, ascending, and how many had not been compared with all before.
        """
        nearest, total = self._nearest, self._known
        stale = rows[nearest.seen[rows] < total]
        count, stride = len(stale), EVERY
        with full_float32(self._device):
            while len(stale):
                stale = self._hinted(stale, bar)
                if len(stale) <= ENOUGH * wanted:
                    stride = 1
                self._catch_up(stale[::stride], bar)
                stale = stale[(nearest.upper[stale] >= bar) & (nearest.seen[stale] < total)]
                stride = max(1, stride // 2)
        return rows[nearest.upper[rows] >= bar], count

    def _hinted(self, rows: Tensor, bar: float) -> Tensor:
        """Compare `rows` with the centres that those beside them are near to; returns those still above `bar`."""
        for _ in range(HINTS):
            hinted, numbers = self._nearest.hints(rows, self._strides)
            if not len(hinted):
                break
            self._nearest.offer(rows, hinted, numbers, self._pairs.sq(rows[hinted], numbers), self._pairs.error)
            before, rows = len(rows), rows[self._nearest.upper[rows] >= bar]
            if before - len(rows) < before // 8:
                break
        return rows

    def _catch_up(self, rows: Tensor, bar: float) -> None:
        """Compare `rows` with centres in order, until none are left or they fall below `bar`."""
        total, seen = self._known, self._nearest.seen[rows]
        while len(rows) and (start := int(seen.min())) < total:
            numbers = slice(start, total if total - start < RANGE * 3 // 2 else start + RANGE)
            count = numbers.stop - start
            # Others were compared with half of these centres or more; but a few are not worth products of their own.
            late = seen < (numbers.stop if len(rows) * count <= COMPARED_VALUES else start + (count + 1) // 2)
            late_rows = rows[late]
            for part in self._pairs.steps(slice(0, len(late_rows)), count):
                self._compare(late_rows[part], numbers)
            seen[late] = numbers.stop
            left = self._nearest.upper[rows] >= bar
            rows, seen = rows[left], seen[left]

    def _compare(self, rows: slice | Tensor, numbers: slice) -> None:
        """Compare vectors with centres. All before these have been compared with them."""
        by_bounds = numbers.start > 0 and self._pairs.pays(numbers)
        indices, centres = self._pairs.pairs(rows, self._nearest.upper[rows], numbers, by_bounds)
        near = indices + rows.start if isinstance(rows, slice) else rows[indices]
        sq = self._pairs.sq(near, centres)
        if self.lazy:
            self._nearest.offer(rows, indices, centres, sq, self._pairs.error)
        else:
            self._nearest.lower(near, sq, self._pairs.error)
        self._nearest.seen[rows] = numbers.stop

    def _compare_all(self, numbers: slice) -> None:
        """Compare all vectors with centres; a sample says by which way."""
        count = numbers.stop - numbers.start
        if numbers.start and self._pairs.pays(numbers):
            sample = slice(0, None, max(1, len(self) // SAMPLED_VECTORS))
            self._pairs.pairs(sample, self._nearest.upper[sample].contiguous(), numbers, by_bounds=True)
            if self._pairs.pays(numbers):
                for part in self._pairs.steps(slice(0, len(self)), count):
                    self._compare(part, numbers)
                return
        for part in self._pairs.steps(slice(0, len(self)), count):
            self._nearest.bound(part, *self._pairs.least(part, numbers))
            self._nearest.seen[part] = numbers.stop

    def _exact(self, full: Tensor) -> NDArray[np.float64]:
        """Exact squared distances to the nearest centres of vectors compared with all; the bounds become narrow."""
        rows, nearest = full.cpu().numpy(), self._nearest.centre[full].cpu().numpy().astype(np.int64)
        with full_float32(self._device):
            unclear = np.flatnonzero(nearest == UNKNOWN)
            for start in range(0, len(unclear), FEW_VECTORS):
                indices = unclear[start : start + FEW_VECTORS]
                unclear_rows = torch.from_numpy(rows[indices]).to(self._device)
                nearest[indices] = self._pairs.nearest(unclear_rows, self._nearest.upper[unclear_rows])[1]
        sq = self._pairs.exact(rows, nearest)
        self._nearest.know(full, torch.from_numpy(nearest), torch.from_numpy(sq))
        return sq

    def _parts(self) -> Iterator[slice]:
        return (slice(start, min(start + PART, len(self))) for start in range(0, len(self), PART))
