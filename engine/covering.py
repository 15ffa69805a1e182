"""How far every vector lies from a growing set of centres: float32 bounds every distance, exact integers decide.

Of each vector 12 bytes are kept: its squared norm, a lower and an upper bound of its squared distance to the nearest
centre, rounding included. The exact distance is found only for the few vectors that may be the next centre. Whatever
else is made for all vectors is made in parts.

New centres are compared with all vectors in one of two ways. While most vectors move, products in all D dimensions are
the cheapest; of their results only the least is looked at. Once a new centre moves few vectors, cheap lower bounds
(`engine.covering_bounds`) rule out most pairs, and only the others are measured, as sums of squared differences. A
sample of the vectors says which way is cheaper.

Floor for N vectors and M centres: the N M bounds, of 2 W operations each, and a pass over them in cache.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.adjacency import strides
from engine.covering_bounds import AXES, CODE_WIDTH, Bounds, CodeBounds, FloatBounds, rounding
from engine.device import full_float32
from engine.nearest_centre import CENTRE, OPEN, NearestCentres, flat_nonzero
from engine.projection import principal_axes
from engine.search import FOLD, UNIT, sq_pairs

CHUNK_VALUES = 2**21
"""Bounds or distances computed at a time on a CPU: 8 MiB, a share of the last-level cache."""
GPU_CHUNK_VALUES = 2**28
"""The same on a GPU, 1 GiB: the host waits once for each chunk, never for a centre."""
MEASURED_VALUES = 2**19
"""Values of vectors measured at a time: what lies between the steps stays in the cache."""
GATHER_VALUES = 2**24
"""Values of vectors converted at a time on a CPU: 64 MiB, however few centres they are compared with."""
RANGE = 1024
FEW = 512
EVERY, HINTS = 8, 4
SELECTED = 2**20
PART = 2**22
"""Vectors whose distances are looked through at a time."""
CACHE_BYTES = 2**29
"""What is kept for speed alone: what bounds are made of and, where room is left, the vectors as float32. Else they
are converted as they are needed. On a GPU it is half of what is free there.
"""
SAMPLE = 4096
"""Vectors by which the axes are found, and by which the cheaper way is told."""
PAIR_COST, GATHERED_COST, PASS_COST = 8, 100, 40
"""In multiply-adds of a matrix product: measuring one value of a pair, the same where vectors have to be converted
first, and the passes over one bound.
"""


class Covering:
    """Distances of `vectors`, int16 (N, D), to the centres added so far."""

    def __init__(self, vectors: NDArray[np.int16], device: str = "cpu") -> None:
        self._vectors = vectors
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        self._chunk_values = GPU_CHUNK_VALUES if on_gpu else CHUNK_VALUES
        self._gather_values = GPU_CHUNK_VALUES if on_gpu else GATHER_VALUES
        cache_bytes = torch.cuda.mem_get_info(self._device)[0] // 2 if on_gpu else CACHE_BYTES
        total, dimensions = vectors.shape
        self._centres = np.empty(0, dtype=np.int64)
        self._nearest = NearestCentres(total, self._device)
        sample = vectors[:: max(1, total // SAMPLE)].astype(np.float64)
        self._origin = np.rint(sample.mean(0)).astype(np.float32)  # distances stay, norms and so errors shrink
        self._sq_norms = torch.empty(total, device=self._device)
        self._bounds, bytes_each = self._bounds_for(sample - self._origin, cache_bytes // total)
        keep = dimensions * 4 + bytes_each <= cache_bytes // total
        self._floats = torch.empty((total, dimensions), device=self._device) if keep else None
        step = max(1, MEASURED_VALUES // dimensions)
        for start in range(0, total, step):
            self._measure(slice(start, min(start + step, total)))
        self._error = (dimensions + 3) * UNIT
        self._lazy = not on_gpu and (self._floats is not None or self._bounds is not None)
        self._strides = strides(vectors) if self._lazy else ()
        self._stale, self._left = 1.0, 0.0

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, rows: NDArray[np.int64]) -> None:
        """Make `rows`, int64 (s,), centres."""
        if not len(rows):
            return
        centres = torch.from_numpy(rows).to(self._device)
        known = len(self._centres)
        self._centres = np.concatenate([self._centres, rows])
        places = slice(known, len(self._centres))
        with full_float32(self._device):
            if self._bounds is not None:
                self._bounds.add(centres)
            if not self._lazy:
                self._compare_all(places)
            elif not known:
                for start, stop in self._steps(len(self), places):
                    self._compare(slice(start, stop), places)
        self._nearest.upper[centres] = -torch.inf
        self._nearest.place[centres] = torch.arange(known, places.stop, dtype=torch.int32, device=self._device)
        self._nearest.seen[centres] = CENTRE
        self._left /= 2

    def top(self, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """The about `size` farthest vectors: rows ascending, exact squared distances, and what no other exceeds.

        Rows are none where all vectors are centres.
        """
        count, step = max(size, int(size * self._stale)), max(1, len(self) // SELECTED)
        while True:
            rows, bar = self._nearest.highest(count, list(self._parts()), step)
            full, stale = self._refresh(rows, bar)
            if 2 * len(full) >= size or not stale:
                break
            count = int(count * min(max(2.0, size / max(1, len(full))), 4.0))
        self._stale = max(1.0, len(rows) / max(1, len(full)), self._stale / 2)
        if len(full) > size:
            upper = self._nearest.upper[full]
            values, picked = upper.topk(size + 1)
            full, bar = full[picked[:size]].sort().values, float(values[size])
        found = full.cpu().numpy()
        return found, self._exact(found), bar

    def farthest(self) -> tuple[int, float]:
        """The vector farthest from all centres, the lowest of equals, and its exact squared distance."""
        rows, sq, bar = self.top(min(FEW, len(self)))
        if not len(rows):
            return int(self._centres[0]), 0.0  # every vector is a centre
        if sq.max() <= bar:
            least = float(sq.max()) * (1 - 4 * UNIT)
            found = torch.cat([flat_nonzero(self._nearest.upper[part] >= least) + part.start for part in self._parts()])
            rows = self._refresh(found, least)[0].cpu().numpy()
            sq = self._exact(rows)
        best = int(sq.argmax())
        return int(rows[best]), float(sq[best])

    def sq_mutual(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact squared distances among `rows`, float64 (r, r)."""
        X = torch.from_numpy(self._vectors[rows].astype(np.float64) - self._origin).to(self._device)
        norms = X.square().sum(1)
        return (norms + norms[:, None]).addmm_(X, X.T, alpha=-2).cpu().numpy()

    def _refresh(self, rows: Tensor, bar: float) -> tuple[Tensor, int]:
        """Bring `rows`, int64 (r,) ascending, up to date, but for those that turn out to lie below `bar`.

        Returns those that do not, ascending, and how many had something to be compared with.
        """
        total, nearest = len(self._centres), self._nearest
        stale = rows[nearest.seen[rows] < total]
        count = len(stale)
        with full_float32(self._device):
            for every in (EVERY, 1) if self._strides else (1,):
                if not len(stale):
                    break
                if self._strides:
                    stale = self._hinted(stale, bar)
                self._catch_up(stale[::every], bar)
                stale = stale[(nearest.upper[stale] >= bar) & (nearest.seen[stale] < total)]
        return rows[nearest.upper[rows] >= bar] if count else rows, count

    def _hinted(self, rows: Tensor, bar: float) -> Tensor:
        """Bring `rows` near the centres that those beside them are near to; what is left of them above `bar`."""
        centres = torch.from_numpy(self._centres)
        for _ in range(HINTS):
            at, places = self._nearest.hints(rows, self._strides)
            if not len(at):
                break
            before = len(rows)
            self._nearest.offer(rows, at, places, self._sq(rows[at], centres[places]), self._error)
            rows = rows[self._nearest.upper[rows] >= bar]
            if before - len(rows) < before // 8:
                break
        return rows

    def _catch_up(self, rows: Tensor, bar: float) -> None:
        """Compare `rows` with centres in order, until no more are left or they fall below `bar`."""
        total, seen = len(self._centres), self._nearest.seen[rows]
        start = int(seen.min()) if len(seen) else total
        while start < total:
            stop = total if total - start < 3 * RANGE // 2 else start + RANGE
            late = rows[seen < stop]
            for at, to in self._steps(len(late), slice(start, stop)):
                self._compare(late[at:to], slice(start, stop))
            seen.clamp_(min=stop)
            left = self._nearest.upper[rows] >= bar
            rows, seen = rows[left], seen[left]
            start = int(seen.min()) if len(seen) else total

    def _compare(self, rows: slice | Tensor, places: slice) -> None:
        """Compare vectors with a range of centres."""
        at, of = self._pairs(rows, places)
        of += places.start
        sq = self._sq(at + rows.start if isinstance(rows, slice) else rows[at], torch.from_numpy(self._centres)[of])
        self._nearest.offer(rows, at, of, sq, self._error)
        self._nearest.seen[rows] = places.stop

    def _pairs(self, rows: slice | Tensor, places: slice) -> tuple[Tensor, Tensor]:
        """Pairs of vectors and a range of centres that may be nearer than what is known, as places in the two."""
        upper = self._nearest.upper[rows]
        count = places.stop - places.start
        if self._bounds is not None and self._pays(self._bounds, places):
            at, of = self._bounds.pairs(rows, upper, places)
            self._left = len(at) / (len(upper) * count)
            return at, of
        centres = torch.from_numpy(self._centres[places])
        sq_norms = self._sq_norms[rows]
        products = torch.addmm(self._sq_norms[centres], self._values(rows), self._values(centres).T, alpha=-2)
        upper = torch.minimum(upper, products.amin(1).add_(sq_norms))
        limit = upper + rounding(upper, 2 * len(self._origin), sq_norms) - sq_norms
        found = flat_nonzero(products <= limit[:, None])
        return found // count, found % count

    def _pays(self, bounds: Bounds, places: slice) -> bool:
        cost = GATHERED_COST if self._floats is None else PAIR_COST
        if not places.start or places.stop <= bounds.width or places.stop - places.start < FOLD:
            return False
        return self._left * cost * len(self._origin) + bounds.width + PASS_COST < len(self._origin)

    def _steps(self, count: int, places: slice) -> Iterator[tuple[int, int]]:
        step = max(256, min(self._chunk_values // (places.stop - places.start), self._gather_values // len(self._origin)))
        return ((start, min(start + step, count)) for start in range(0, count, step))

    def _bounds_for(self, sample: NDArray[np.float64], bytes_each: int) -> tuple[Bounds | None, int]:
        """The bounds that pay and fit into so many bytes a vector, and how many they take."""
        dimensions = sample.shape[1]
        if self._device.type == "cpu":
            if dimensions < CODE_WIDTH or bytes_each < CodeBounds.BYTES:
                return None, 0
            return CodeBounds(len(self), sample, principal_axes(sample)), CodeBounds.BYTES
        width = next((K for K in AXES if dimensions >= 8 * K and bytes_each >= (K + 2) * 4), 0)
        if not width:
            return None, 0
        return FloatBounds(principal_axes(sample)[:, :width], self._sq_norms), (width + 2) * 4

    def _parts(self) -> Iterator[slice]:
        return (slice(start, min(start + PART, len(self))) for start in range(0, len(self), PART))

    def _exact(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact squared distances of `rows` to their nearest centres, float64 (r,); the bounds become narrow."""
        at = torch.from_numpy(rows).to(self._device)
        place = self._nearest.place[at].cpu().numpy()
        sq = np.empty(len(rows))
        step = max(256, self._chunk_values // SAMPLE)
        unclear = np.flatnonzero(place < 0)
        for start in range(0, len(unclear), step):
            some = unclear[start : start + step]
            sq[some], place[some] = self._measured(rows[some])
        clear = np.flatnonzero(place >= 0)
        for start in range(0, len(clear), FEW):
            some = clear[start : start + FEW]
            difference = self._vectors[rows[some]].astype(np.float64) - self._vectors[self._centres[place[some]]]
            sq[some] = np.einsum("nd,nd->n", difference, difference)
        self._nearest.place[at] = torch.from_numpy(place).to(self._device)
        self._nearest.upper[at] = torch.from_numpy(sq).to(self._device, torch.float32) * (1 + 2 * UNIT)
        return sq

    def _measured(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Exact squared distances of a few rows to their nearest centres, float64 (r,), and these, int64 (r,)."""
        at = torch.from_numpy(rows).to(self._device)
        centres = torch.from_numpy(self._centres).to(self._device)
        with full_float32(self._device):
            near, of = self._rivals(at, centres)
        sq = self._sq(at[near], centres[of])
        least = torch.full((len(at),), torch.inf, device=self._device).scatter_reduce_(0, near, sq, "amin")
        left = sq <= least[near] * (1 + 4 * (len(self._origin) + 3) * UNIT)  # whatever their rounding
        near_rows, of_rows = near[left].cpu().numpy(), of[left].cpu().numpy()
        exact, place = np.full(len(rows), np.inf), np.full(len(rows), OPEN)
        for start in range(0, len(near_rows), SAMPLE):
            x, c = near_rows[start : start + SAMPLE], of_rows[start : start + SAMPLE]
            difference = self._vectors[rows[x]].astype(np.float64) - self._vectors[self._centres[c]]
            sq = np.einsum("nd,nd->n", difference, difference)
            np.minimum.at(exact, x, sq)
            place[x[sq == exact[x]]] = c[sq == exact[x]]
        return exact, place

    def _rivals(self, rows: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of `rows` (r,) and `centres` (s,) that no bound rules out, as places in the two, int64 (p,) each."""
        upper = self._nearest.upper[rows]
        found = []
        for start in range(0, len(centres), SAMPLE):
            part = slice(start, min(start + SAMPLE, len(centres)))
            if self._bounds is not None:
                near, of = self._bounds.pairs(rows, upper, part)
            else:
                C, sq_centres = self._values(centres[part]), self._sq_norms[centres[part]]
                sq = torch.addmm(sq_centres, self._values(rows), C.T, alpha=-2)
                sq_norms = self._sq_norms[rows]
                limit = upper + rounding(upper, 2 * len(self._origin), sq_norms) - sq_norms
                near, of = (sq <= limit[:, None]).nonzero(as_tuple=True)
            found.append((near, of + start))
        near, of = (torch.cat(parts) for parts in zip(*found, strict=True))
        return near, of

    def _sq(self, rows: Tensor, centres: Tensor) -> Tensor:
        """Squared distances of pairs, float32 (p,), as sums of squared differences: each within (D + 1) u of itself."""
        if self._floats is not None and self._device.type == "cpu":
            floats = self._floats.numpy()
            return torch.from_numpy(sq_pairs(floats, rows.numpy(), floats, centres.numpy()))
        sq = torch.empty(len(rows), device=self._device)
        step = max(1, 2 * self._chunk_values // len(self._origin))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            sq[part] = (self._values(rows[part]) - self._values(centres[part])).square_().sum(1)
        return sq

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
