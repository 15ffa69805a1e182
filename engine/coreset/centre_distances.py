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

from patchline.engine.coreset.candidate_pairs import CHUNK_VALUES, SAMPLE, Distances
from patchline.engine.coreset.locality import strides
from patchline.engine.coreset.nearest_centres import OPEN, NearestCentres
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
FEW = 512
"""Vectors looked at where one is sought, and measured at a time."""
LAZY_ON = ("cpu",)
"""Devices on which to pick vectors costs little beside comparing them."""


class Covering:
    """Distances of `vectors`, int16 (N, D), to the centres added so far."""

    def __init__(self, vectors: NDArray[np.int16], device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._total = len(vectors)
        self._nearest = NearestCentres(self._total, self._device)
        self._distances = Distances(vectors, self._device)
        self._strides = strides(vectors) if self._device.type in LAZY_ON and self._distances.kept else ()
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
        centres, places = torch.from_numpy(rows).to(self._device), slice(self._known, self._known + len(rows))
        with full_float32(self._device):
            self._distances.add(centres)
            if not self.lazy:
                self._compare_all(places)
            elif not places.start:
                for part in self._distances.steps(slice(0, len(self)), len(rows)):
                    self._compare(part, places)
        self._nearest.add(centres, places)

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
        rows, sq, bar = self.top(min(FEW, len(self)))
        if not len(rows):
            return int(self._distances.centres[0]), 0.0  # every vector is a centre
        if sq.max() <= bar:  # others may lie as far
            least = float(sq.max()) * (1 - 4 * UNIT)
            full, _ = self._refresh(self._nearest.at_least(least, self._parts()), least, FEW)
            rows, sq = full.cpu().numpy(), self._exact(full)
        best = int(sq.argmax())
        return int(rows[best]), float(sq[best])

    def sq_mutual(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact squared distances among `rows`, float64 (r, r)."""
        return self._distances.mutual(rows)

    @property
    def _known(self) -> int:
        return len(self._distances.centres)

    def _refresh(self, rows: Tensor, bar: float, wanted: int) -> tuple[Tensor, int]:
        """Compare `rows`, int64 (r,) ascending, with all centres, but for those that turn out to lie below `bar`.

        Returns those that do not, ascending, and how many had not been compared with all before.
        """
        nearest, total = self._nearest, self._known
        stale = rows[nearest.seen[rows] < total]
        count, every = len(stale), EVERY
        with full_float32(self._device):
            while len(stale):
                stale = self._hinted(stale, bar)
                if len(stale) <= ENOUGH * wanted:
                    every = 1
                self._catch_up(stale[::every], bar)
                stale = stale[(nearest.upper[stale] >= bar) & (nearest.seen[stale] < total)]
                every = max(1, every // 2)
        return rows[nearest.upper[rows] >= bar], count

    def _hinted(self, rows: Tensor, bar: float) -> Tensor:
        """Compare `rows` with the centres that those beside them are near to; returns those still above `bar`."""
        for _ in range(HINTS):
            at, places = self._nearest.hints(rows, self._strides)
            if not len(at):
                break
            self._nearest.offer(rows, at, places, self._distances.sq(rows[at], places), self._distances.error)
            before, rows = len(rows), rows[self._nearest.upper[rows] >= bar]
            if before - len(rows) < before // 8:
                break
        return rows

    def _catch_up(self, rows: Tensor, bar: float) -> None:
        """Compare `rows` with centres in order, until none are left or they fall below `bar`."""
        total, seen = self._known, self._nearest.seen[rows]
        while len(rows) and (start := int(seen.min())) < total:
            places = slice(start, total if total - start < RANGE * 3 // 2 else start + RANGE)
            count = places.stop - start
            # Others were compared with half of these centres or more; but a few are not worth products of their own.
            late = seen < (places.stop if len(rows) * count <= CHUNK_VALUES else start + (count + 1) // 2)
            some = rows[late]
            for part in self._distances.steps(slice(0, len(some)), count):
                self._compare(some[part], places)
            seen[late] = places.stop
            left = self._nearest.upper[rows] >= bar
            rows, seen = rows[left], seen[left]

    def _compare(self, rows: slice | Tensor, places: slice) -> None:
        """Compare vectors with centres. All before these have been compared with them."""
        by_bounds = places.start > 0 and self._distances.pays(places)
        at, of = self._distances.pairs(rows, self._nearest.upper[rows], places, by_bounds)
        near = at + rows.start if isinstance(rows, slice) else rows[at]
        sq = self._distances.sq(near, of)
        if self.lazy:
            self._nearest.offer(rows, at, of, sq, self._distances.error)
        else:
            self._nearest.lower(near, sq, self._distances.error)
        self._nearest.seen[rows] = places.stop

    def _compare_all(self, places: slice) -> None:
        """Compare all vectors with centres; a sample says by which way."""
        count = places.stop - places.start
        if places.start and self._distances.pays(places):
            some = slice(0, None, max(1, len(self) // SAMPLE))
            self._distances.pairs(some, self._nearest.upper[some].contiguous(), places, by_bounds=True)
            if self._distances.pays(places):
                for part in self._distances.steps(slice(0, len(self)), count):
                    self._compare(part, places)
                return
        for part in self._distances.steps(slice(0, len(self)), count):
            self._nearest.bound(part, *self._distances.least(part, places))
            self._nearest.seen[part] = places.stop

    def _exact(self, full: Tensor) -> NDArray[np.float64]:
        """Exact squared distances to the nearest centres of vectors compared with all; the bounds become narrow."""
        rows, place = full.cpu().numpy(), self._nearest.place[full].cpu().numpy().astype(np.int64)
        with full_float32(self._device):
            unclear = np.flatnonzero(place == OPEN)
            for start in range(0, len(unclear), FEW):
                at = unclear[start : start + FEW]
                some = torch.from_numpy(rows[at]).to(self._device)
                place[at] = self._distances.nearest(some, self._nearest.upper[some])[1]
        sq = self._distances.exact(rows, place)
        self._nearest.know(full, torch.from_numpy(place), torch.from_numpy(sq))
        return sq

    def _parts(self) -> Iterator[slice]:
        return (slice(start, min(start + PART, len(self))) for start in range(0, len(self), PART))
