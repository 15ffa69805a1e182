"""How far every vector lies from a growing set of centres: float32 rules out, exact integers decide.

For each vector three things are kept: an approximate squared distance to its nearest centre, which centre that is, and
whether float32's rounding leaves in doubt which it is. The exact distance of any vector is then one integer sum, or, in
doubt, one for each centre.

A new centre moves few vectors once there are many centres. So the products are first made in the K + 1 dimensions of
`engine.pruned_search`, whose results bound the distances from below, and in all D only for vectors that a bound cannot
rule out.

Floor for N vectors and M centres: 2 N M (K + 2) flop, and a pass over each block of bounds in cache.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.projection import principal_axes

UNIT = 2.0**-24
CHUNK_VALUES = 2**20
"""Bounds or distances computed at a time on a CPU: 4 MiB, a share of the last-level cache."""
GPU_CHUNK_VALUES = 2**28
"""The same on a GPU, 1 GiB: the host waits once for each chunk, never for a centre."""
CACHE_BYTES = 2**29
"""Vectors are kept as float32 up to this size, beyond it converted as they are needed; on a GPU up to half of what is
free there.
"""
AXES = 32
SAMPLE = 4096


class Covering:
    """Distances of `vectors`, int16 (N, D), to the centres added so far."""

    def __init__(self, vectors: NDArray[np.int16], device: str = "cpu") -> None:
        self._vectors = vectors
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        self._chunk_values = GPU_CHUNK_VALUES if on_gpu else CHUNK_VALUES
        cache_bytes = torch.cuda.mem_get_info(self._device)[0] // 2 if on_gpu else CACHE_BYTES
        total, dimensions = vectors.shape
        self._centres = np.empty(0, dtype=np.int64)
        self._near = torch.full((total,), torch.inf, device=self._device)
        self._owner = torch.zeros(total, dtype=torch.int64, device=self._device)
        self._doubtful = torch.zeros(total, dtype=torch.bool, device=self._device)
        sample = vectors[:: max(1, total // SAMPLE)].astype(np.float64)
        self._origin = np.rint(sample.mean(0))  # distances are the same, norms and so errors are smaller
        width = AXES if dimensions > 2 * AXES and total * (AXES + 2) * 4 <= cache_bytes else 0
        self._axes = principal_axes(sample - self._origin)[:, :width]
        self._points = torch.empty((total, width + 2), device=self._device) if width else None
        keep = total * dimensions * 4 <= cache_bytes
        self._floats = torch.empty((total, dimensions), device=self._device) if keep else None
        self._sq_norms = torch.empty(total, device=self._device)
        step = max(1, CHUNK_VALUES // dimensions)
        for start in range(0, total, step):
            self._measure(slice(start, start + step))
        self._twice_norms = 2 * self._sq_norms.sqrt()
        self._direct = 0

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, rows: NDArray[np.int64]) -> None:
        """Make `rows`, int64 (s,), centres."""
        if not len(rows):
            return
        self._centres = np.concatenate([self._centres, rows])
        centres = torch.from_numpy(rows).to(self._device)
        C = self._values(centres)
        moved, total = 0, len(self)
        step = max(256, self._chunk_values // len(rows))
        direct = self._points is None or self._direct > 0 or len(self._centres) <= AXES
        lifted = None if direct else self._lift(centres)
        for start in range(0, total, step):
            end = min(start + step, total)
            if lifted is None:
                part = torch.arange(start, end, device=self._device)
                X = self._values(slice(start, end))
            else:
                assert self._points is not None  # noqa: S101 - `lifted` is made of them
                bound = torch.mm(self._points[start:end], lifted.T).amin(1).add_(self._sq_norms[start:end])
                near = self._near[start:end]
                limit = near + 4 * self._slack(near, self._twice_norms[start:end])
                part = (bound <= limit).nonzero()[:, 0] + start
                moved += len(part)
                if not len(part):
                    continue
                X = self._values(part)
            sq = torch.addmm(self._sq_norms[centres], X, C.T, alpha=-2).add_(self._sq_norms[part, None])
            lowered = self._lower(part, sq, centres)
            moved += lowered if lifted is None else 0
        self._near[centres] = -torch.inf
        if direct:
            self._direct = max(0, self._direct - 1) if moved < total // 4 else 2
        elif moved > total // 2:
            self._direct = 2

    def top(self, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """The about `size` farthest vectors: rows ascending, exact squared distances, and what no other exceeds."""
        if size >= len(self):
            rows = np.flatnonzero(np.isfinite(self._near.cpu().numpy()))
            return (rows, self._exact(rows), -1.0) if len(rows) else (np.zeros(1, np.int64), np.zeros(1), 0.0)
        upper = self._near + self._slack(self._near, self._twice_norms)
        values, picked = upper.topk(size + 1)
        rows = np.sort(picked[:size].cpu().numpy())
        rows = rows[np.isfinite(self._near[torch.from_numpy(rows).to(self._device)].cpu().numpy())]
        if not len(rows):
            return np.zeros(1, np.int64), np.zeros(1), 0.0
        return rows, self._exact(rows), float(values[size])

    def farthest(self) -> tuple[int, float]:
        """The vector farthest from all centres, the lowest of equals, and its exact squared distance."""
        slack = self._slack(self._near, self._twice_norms)
        upper = self._near + slack
        lower = (self._near - slack).max()
        if not torch.isfinite(lower):
            return int(self._centres[0]), 0.0  # every vector is a centre
        rows = (upper >= lower).nonzero()[:, 0].cpu().numpy()
        sq = self._exact(rows)
        best = int(sq.argmax())
        return int(rows[best]), float(sq[best])

    def sq_mutual(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact squared distances among `rows`, float64 (r, r)."""
        X = torch.from_numpy(self._vectors[rows].astype(np.float64) - self._origin).to(self._device)
        norms = X.square().sum(1)
        return torch.addmm(norms + norms[:, None], X, X.T, alpha=-2).cpu().numpy()

    def _lower(self, rows: Tensor, sq: Tensor, centres: Tensor) -> int:
        """Take the squared distances `sq` (n, s) of `rows` (n,) to new centres into account; returns how many moved."""
        low = sq.amin(1)
        new = torch.minimum(low, self._near[rows])
        margin = 2 * self._slack(new, self._twice_norms[rows])
        hit = (low <= self._near[rows] + margin).nonzero()[:, 0]
        if not len(hit):
            return 0
        rows, sq, low, new, margin = rows[hit], sq[hit], low[hit], new[hit], margin[hit]
        old = self._near[rows]
        old_rivals = old <= new + margin
        rivals = (sq <= (new + margin)[:, None]).sum(1) + old_rivals
        self._owner[rows] = torch.where(old <= low, self._owner[rows], centres[sq.argmin(1)])
        self._doubtful[rows] = (rivals > 1) | (old_rivals & self._doubtful[rows])
        self._near[rows] = new
        return len(hit)

    def _slack(self, near: Tensor, twice_norms: Tensor) -> Tensor:
        """How far float32's squared distances `near` (n,) of vectors x to their nearest centres may err, (n,).

        |x|^2 + |c|^2 - 2 x.c errs by less than (D / 2 + 4) u (|x| + |c|)^2, whatever the order of summation, and
        |c| <= |x| + |x - c|. So a centre of large norm, which is far from all others, does not blur their distances.
        """
        reach = twice_norms + near.clamp(min=0).sqrt()
        return reach.square().mul_((self._vectors.shape[1] + 8) * UNIT)

    def _exact(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact squared distances of `rows` to their nearest centres, float64 (r,)."""
        at = torch.from_numpy(rows).to(self._device)
        owners, doubtful = self._owner[at].cpu().numpy(), self._doubtful[at].cpu().numpy()
        sq = np.empty(len(rows))
        for start in range(0, len(rows), SAMPLE):
            part = slice(start, start + SAMPLE)
            difference = self._vectors[rows[part]].astype(np.float64) - self._vectors[owners[part]]
            sq[part] = np.einsum("nd,nd->n", difference, difference)
        where = np.flatnonzero(doubtful)
        for start in range(0, len(where), 512):
            some = where[start : start + 512]
            X = self._vectors[rows[some]].astype(np.float64) - self._origin
            sq_X = np.einsum("nd,nd->n", X, X)
            for first in range(0, len(self._centres), SAMPLE):
                C = self._vectors[self._centres[first : first + SAMPLE]].astype(np.float64) - self._origin
                near = (sq_X[:, None] + np.einsum("nd,nd->n", C, C) - 2 * X @ C.T).min(1)
                sq[some] = np.minimum(sq[some], near)
        return sq

    def _values(self, rows: slice | Tensor) -> Tensor:
        """Vectors less the origin, float32 (n, D): exact, since both are integers below 2^24."""
        if self._floats is not None:
            return self._floats[rows]
        picked = self._vectors[rows if isinstance(rows, slice) else rows.cpu().numpy()]
        origin = torch.from_numpy(self._origin.astype(np.float32)).to(self._device)
        picked = np.require(picked, requirements=("C", "W"))  # torch wants memory that it might write to
        return torch.from_numpy(picked).to(self._device, torch.float32) - origin

    def _lift(self, rows: Tensor) -> Tensor:
        """Centres as factors of the bounds, (s, K + 2): -2 Pc, -2 e(c), |c|^2."""
        assert self._points is not None  # noqa: S101 - the caller has looked
        lifted = self._points[rows] * -2
        lifted[:, -1] = self._sq_norms[rows]
        return lifted

    def _measure(self, part: slice) -> None:
        """Norms and projected points of some vectors, computed in float64."""
        centred = self._vectors[part].astype(np.float64) - self._origin
        sq_norms = np.einsum("nd,nd->n", centred, centred)
        self._sq_norms[part] = torch.from_numpy(sq_norms).to(self._device, torch.float32)
        if self._floats is not None:
            self._floats[part] = torch.from_numpy(centred).to(self._device, torch.float32)
        if self._points is not None:
            inside = centred @ self._axes
            outside = np.sqrt(np.maximum(sq_norms - np.einsum("nk,nk->n", inside, inside), 0.0))
            points = np.concatenate([inside, outside[:, None], np.ones((len(centred), 1))], axis=1)
            self._points[part] = torch.from_numpy(points).to(self._device, torch.float32)
