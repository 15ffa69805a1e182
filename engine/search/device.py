"""Exact nearest neighbours in whole batches on a device: lower bounds in half precision, then exact distances.

For orthonormal P (D, K) and residual norms e(x) = sqrt(|x|^2 - |Px|^2), Pythagoras and the triangle inequality give

    |q - r|^2  >=  |Pq - Pr|^2 + (e(q) - e(r))^2,

a squared distance in K + 1 dimensions, which one matrix product gives for all pairs. On a GPU it runs in half
precision, with one pass of tensor cores and 2 bytes a bound. For each query the row with the least bound is measured,
as a sum of squared differences in float32, and then every row whose bound does not exceed that distance by more than
rounding explains. So no row is missed. How many rows are measured is known only on the device, so the host waits twice
for each block of queries, though never for a frame. Queries in half precision that want one row each go through the
kernels of `search.fused_search`, for which the host does not wait.

Rounding: with unit round-off u, a bound -2 p.r + |r|^2 of points in half precision, accumulated in float32, errs by at
most u (6 |p| |r| + 2 |r|^2) <= u (3 |p|^2 + 5 |r|^2), which is taken off the bounds. A query's point is made by float32
sums of D products, which err by less than 8 sqrt(D) u each (Higham and Mary 2019, but for a chance of 1e-10).
"""

from copy import copy
from math import frexp, sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from patchline.engine.numerics.device import can_compile_kernels, full_float32
from patchline.engine.numerics.projection import sampled_axes, with_residual
from patchline.engine.numerics.rounding import HALF_UNIT, UNIT
from patchline.engine.search import fused_search
from patchline.engine.search.index import (
    FOLD,
    farthest_by_search,
    nearest_of_frames,
    search_by_tensors,
)
from patchline.engine.search.row_clusters import RowGroups
from patchline.engine.types import Floats, Indices

MOST_COLUMNS = 128
"""Most columns of the product that makes bounds: so many cost tensor cores no more time than writing the bound."""
FUSED_MOST_COLUMNS = 64
"""The same where bounds are not written to memory, by the kernels."""
ROW_MULTIPLE = max(FOLD, fused_search.FUSED_FOLD)
"""Room for rows is made in multiples of this."""
ALIGNMENT = 8
"""Tensor cores want columns in multiples of this."""
LARGEST_NORM = 128.0
"""The largest norm of a point in half precision: bounds then stay below 50,000, and its range ends at 65,504."""
SMALLEST_SHRINK = 2.0**-14
"""The smallest number that half precision holds with all its digits."""
NORM_ROOM = 4.0
"""Rows added later may have a norm so many times the largest of the first ones before all are scaled anew."""
UNDERFLOW = 2.0**-12
"""What a bound of such points may lose at the lower end of half precision's range."""
PAIR_VALUES = 2**26
"""Values of differences held at a time: 256 MiB."""


class _Points(NamedTuple):
    """Queries as the bounds need them."""

    factors: Tensor
    """(n, K + 2): the scaled point and 1, both times `shrink`."""
    sq_norms: Tensor
    """Squared norms of the scaled points, (n,)."""
    error: Tensor
    """How far a point may be from where it should be, not scaled, (n,)."""
    shrink: Tensor
    """Brings points outside the range of half precision into it, (n,)."""


class DeviceSearch:
    """The exact search of `search.index` for tensors on a device; arrays go there and back.

    The axes are those of the first `rows`; rows added later are projected on the same axes.
    """

    copy_can_grow = False

    def __init__(
        self, rows: Floats, device: str = "cpu", *, half: bool | None = None, fused: bool | None = None
    ) -> None:
        """Make the index.

        Args:
            rows: float32 (M, D).
            device: torch's name of it.
            half: whether bounds are in half precision; None: on a GPU they are.
            fused: whether the kernels of `search.fused_search` do what they can; None: where they can be compiled.
        """
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        self._half = on_gpu if half is None else half
        fuses = self._half and (can_compile_kernels(self._device) if fused is None else fused)
        self._block_values = 2**29 if on_gpu else 2**21  # 1 GiB of bounds, or a share of the CPU's cache
        dimensions = rows.shape[1]
        centre = rows.mean(0, dtype=np.float64)
        most = FUSED_MOST_COLUMNS if fuses else MOST_COLUMNS
        width = max(1, min(most, dimensions // 2) // ALIGNMENT * ALIGNMENT - 2)
        axes = sampled_axes(rows, centre)[:, :width]
        self._centre64, self._axes64 = centre, axes
        self._centre, self._axes = (torch.from_numpy(a).to(self._device, torch.float32) for a in (centre, axes))
        self._fused = None
        self._groups: RowGroups | None = None
        if fuses:
            limits = fused_search.HalfRange(self._unit, LARGEST_NORM, SMALLEST_SHRINK, UNDERFLOW)
            self._fused = fused_search.FusedSearch(centre, axes, limits, self._device)
        self._scale = 1.0
        self._rows = torch.empty((0, dimensions), device=self._device)  # with room to grow
        self._factors = torch.empty((0, 0), device=self._device)
        self._count = 0
        self.add(rows)

    def __len__(self) -> int:
        return self._count

    def with_rows(self, rows: Floats) -> "DeviceSearch":
        """See `NearestNeighbours.with_rows`: the axes stay."""
        other = copy(self)
        other._rows, other._factors = self._rows[:0], self._factors[:0]
        other._count, other._groups = 0, None
        other.add(rows)
        return other

    @property
    def rows(self) -> Tensor:
        """The rows of the index, float32 (M, D) on the device."""
        return self._rows[: self._count]

    def add(self, rows: Floats) -> None:
        """Append `rows`, float32 (m, D), in place; room for more is made by half of what there is."""
        centred = rows - self._centre64
        sq_norms = np.einsum("md,md->m", centred, centred)
        largest = max(sqrt(sq_norms.max(initial=0.0)), 2.0**-30)
        if self._half and (self._count == 0 or largest * self._scale > LARGEST_NORM):
            self._scale = 2.0 ** -frexp(largest * NORM_ROOM / LARGEST_NORM)[1]
            if self._count:
                earlier, self._count = self.rows.cpu().numpy(), 0
                self.add(np.concatenate([earlier, rows]))
                return
        start, self._count = self._count, self._count + len(rows)
        if self._count > len(self._rows):
            self._reserve(self._count if start == 0 else self._count + self._count // 2)
        self._rows[start : self._count] = torch.tensor(rows, dtype=torch.float32)
        points = with_residual(centred, self._axes64, sq_norms) * self._scale
        sq_norms *= self._scale**2 * (1 - 5 * self._unit)
        factors = np.concatenate([-2 * points, sq_norms[:, None]], axis=1)
        self._factors[start : self._count, : factors.shape[1]] = torch.from_numpy(factors).to(self._factors.dtype)
        if self._fused is None:
            return
        if self._groups is None or start == 0:
            self._groups = RowGroups(self._factors, self._count, self._axes.shape[1] + 1)
        else:
            self._groups = self._groups.add(self._factors, start, self._count)

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """See `NearestNeighbours.search`."""
        return search_by_tensors(self, queries, k)

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """See `NearestNeighbours.farthest`."""
        return farthest_by_search(self, queries, k)

    @torch.inference_mode()
    def nearest(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See `TensorNearest.nearest`; queries may be of any precision."""
        if k == 1 and self._fused is not None and self._groups is not None and queries.dtype == torch.float16:
            return self._fused.nearest(self._index_of(self._groups), queries)
        find = self._nearest_one if k == 1 else self._nearest_some
        nearest = []
        with full_float32(self._device):
            for block in torch.split(queries, max(1, self._block_values // len(self._factors))):
                Q = block.float()
                points = self._project(Q)
                bounds = torch.mm(points.factors, self._factors[:, : points.factors.shape[1]].T)  # (n, M')
                nearest.append(find(Q, bounds, points, k))
        sq, rows = zip(*nearest, strict=True)
        return torch.cat(sq), torch.cat(rows)

    @torch.inference_mode()
    def farthest_of_frames(self, frames: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Search the patches of frames as far as it takes to know the k of each frame that lie farthest from the rows.

        Args:
            frames: float (B, P, D) on the device.
            k: patches of a frame, 1 or more.

        Returns:
            Squared L2 distances, float32 (B, P), and row numbers, int64 (B, P). For the k farthest patches of a frame
            and for all that lie as far, they are those of the nearest row, ties to the lowest. For the others they may
            be those of another row, and are less.
        """
        if self._fused is not None and self._groups is not None and frames.dtype == torch.float16:
            return self._fused.farthest(self._index_of(self._groups), frames, k)
        return nearest_of_frames(self, frames)

    def _index_of(self, groups: RowGroups) -> fused_search.Index:
        return fused_search.Index(self._count, self._scale, self._rows, self._factors, groups)

    @property
    def _unit(self) -> float:
        """Relative error of a product of points."""
        return (HALF_UNIT if self._half else UNIT) + (self._axes.shape[1] + 8) * UNIT

    def _project(self, Q: Tensor) -> "_Points":
        D, K = self._axes.shape
        centred = Q - self._centre
        inside = centred @ self._axes
        sq_norms = centred.square().sum(1)
        outside = (sq_norms - inside.square().sum(1)).clamp_(min=0.0).sqrt()
        # What float32 may have lost of the point inside, of the squared residual norm, and so of that norm.
        relative = 8 * sqrt(D) * UNIT
        lost = relative * (1 + 2 * sqrt(K)) * sq_norms
        error = relative * sqrt(K) * sq_norms.sqrt() + lost / torch.maximum(outside, lost.sqrt()).clamp_(min=1e-30)
        points = torch.cat([inside, outside[:, None]], dim=1) * self._scale
        sq_norms = points.square().sum(1)
        shrink = torch.ones_like(outside)
        if self._half:  # by a power of two, which is exact
            beyond = sq_norms > (LARGEST_NORM / SMALLEST_SHRINK) ** 2  # measure every row of these
            points = torch.where(beyond[:, None], 0.0, points)
            error = torch.where(beyond, torch.inf, error)
            shrink = (LARGEST_NORM / sq_norms.sqrt()).log2().floor().exp2().clamp(SMALLEST_SHRINK, 1.0)
        factors = torch.cat([points * shrink[:, None], shrink[:, None]], dim=1).to(self._factors.dtype)
        return _Points(factors, sq_norms, error, shrink)

    def _limit(self, sq: Tensor, points: "_Points") -> Tensor:
        """The largest bound of a row at a squared distance of `sq`, (n,), or less, in the bounds' own precision."""
        farthest = (sq * (1 + 2 * (self._rows.shape[1] + 4) * UNIT)).sqrt() + points.error
        limit = (farthest * self._scale).square() * (1 + 8 * UNIT) - (1 - 3 * self._unit) * points.sq_norms
        limit = limit * points.shrink + (UNDERFLOW if self._half else 0.0)
        limit += limit.abs() * (2 * HALF_UNIT if self._half else 2 * UNIT)  # so that it is not rounded down
        return limit.clamp(max=torch.finfo(self._factors.dtype).max * 0.9).to(self._factors.dtype)

    def _nearest_one(self, Q: Tensor, bounds: Tensor, points: "_Points", _k: int) -> tuple[Tensor, Tensor]:
        n, fold = len(Q), bounds.shape[1] // FOLD
        folded = bounds.view(n, FOLD, fold)
        least = folded.amin(1)
        query = torch.arange(n, device=self._device)
        column = least.argmin(1)
        first = folded[query, :, column].argmin(1) * fold + column
        limit = self._limit(self._sq(Q, query, first), points)
        query_of, column = (least <= limit[:, None]).nonzero(as_tuple=True)  # waits for the device
        hit, layer = (folded[query_of, :, column] <= limit[query_of, None]).nonzero(as_tuple=True)
        query_of, row_of = query_of[hit], layer * fold + column[hit]
        sq = self._sq(Q, query_of, row_of)
        best = torch.full((n,), torch.inf, device=self._device).scatter_reduce_(0, query_of, sq, "amin")
        row_of = torch.where(sq == best[query_of], row_of, len(self._rows))
        row = torch.full((n,), len(self) - 1, device=self._device).scatter_reduce_(0, query_of, row_of, "amin")
        return best[:, None], row[:, None]

    def _nearest_some(self, Q: Tensor, bounds: Tensor, points: "_Points", k: int) -> tuple[Tensor, Tensor]:
        n = len(Q)
        query = torch.arange(n, device=self._device).repeat_interleave(k)
        first = bounds.topk(k, dim=1, largest=False, sorted=False).indices.flatten()
        limit = self._limit(self._sq(Q, query, first).view(n, k).amax(1), points)
        query_of, row_of = (bounds <= limit[:, None]).nonzero(as_tuple=True)  # waits for the device; rows ascend
        sq = self._sq(Q, query_of, row_of)
        order = sq.argsort(stable=True)
        order = order[query_of[order].argsort(stable=True)]  # by query, then distance, then row
        counts = torch.bincount(query_of, minlength=n)
        nearest = order[(counts.cumsum(0) - counts)[:, None] + torch.arange(k, device=self._device)]
        return sq[nearest], row_of[nearest]

    def _sq(self, Q: Tensor, query_of: Tensor, row_of: Tensor) -> Tensor:
        """Squared L2 of the pairs (Q[query_of[i]], rows[row_of[i]]), float32 (p,): sums of squared differences."""
        step = max(1, PAIR_VALUES // Q.shape[1])
        parts = [
            (Q[queries] - self._rows[rows]).square_().sum(1)
            for queries, rows in zip(torch.split(query_of, step), torch.split(row_of, step), strict=True)
        ]
        return torch.cat(parts)

    def _reserve(self, rows: int) -> None:
        """Make room for `rows` in all; rows that have not been added yet count as infinitely far."""
        rows = -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE
        grown = torch.zeros((rows, self._rows.shape[1]), device=self._device)
        grown[: len(self._rows)] = self._rows
        dtype = torch.float16 if self._half else torch.float32
        columns = self._axes.shape[1] + 2 if self._fused is None else self._fused.columns
        factors = torch.zeros((rows, columns), device=self._device, dtype=dtype)
        factors[:, self._axes.shape[1] + 1] = torch.inf
        if len(self._factors):
            factors[: len(self._factors)] = self._factors
        self._rows, self._factors = grown, factors
