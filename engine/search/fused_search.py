"""The search of `search.device` for queries in half precision, by kernels, so that the host never waits for the device.

One kernel makes the queries' points, by products in half precision with the axes as sums of two halves. For each query
the two groups of rows (`search.row_clusters`) with the nearest centres are found, and of their rows the one with the
least bound is measured: it lies nearly as near as the nearest. From there queries are searched to the end: one kernel
makes their bounds and keeps only the least of each `FUSED_FOLD` rows, so that one in so many bounds is written to
memory; the other goes through the rows by rising bound, measuring, until a bound is more than the least distance.

A frame's score depends on its farthest patches alone. The first measured row gives an upper bound of a patch's
distance. Once the patches with the largest upper bounds are searched to the end, all patches whose upper bound is less
than the distances found need no further search: in real frames these are nine in ten and more. Kernels choose them too
(`search.selection_kernels`), so that no choice waits for the host. The whole search is ten launches.

Rounding: products in half precision are exact in float32, and of a sum of D of them, accumulated 16 at a time, at most
(D / 16 + 16) 2^-22 of |q| |axis| is lost, truncation included (Fasi et al. 2021 measured how tensor cores add); two
halves leave 2^-22 of an axis.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from patchline.engine.numerics.rounding import UNIT
from patchline.engine.search.row_clusters import GROUPS, RowGroups
from patchline.engine.types import Doubles

FUSED_FOLD = 32
"""Rows of whose bounds only the least is kept."""
AXES_SCALE = 2.0**10
"""Scale of the axes, so that what their second halves hold does not fall below half precision's range."""
LEAST_VALUES = 2**26
"""Least bounds for which there is room at a time: 256 MiB."""
SLACK = 2.0**-17
"""The most that the lowest bits of a bound, and rounding in float32, change in it and in the limit, relative to it."""
POINTS_TILES = {"BLOCK": 64, "CHUNK": 64, "num_warps": 4, "num_stages": 3}
NEAR_GROUPS_TILES = {"BLOCK": 64, "CHUNK": 128, "num_warps": 4}
FIRST_TILES = {"NEAR": 2, "num_warps": 1}
LEAST_TILES = {"BLOCK": 128, "COLUMNS": 32, "STAGES": 3, "num_warps": 4}
REFINE_ALL_TILES = {"COLUMNS": 128, "SPLIT": 4, "num_warps": 1}
REFINE_SOME_TILES = {"COLUMNS": 32, "SPLIT": 16, "num_warps": 1}
"""Tiles of the kernels, as they measure fastest on a Hopper GPU. Programs that tell each other distances as they go
have one warp: of several, each would read another.
"""
UNPACK_TILES = {"BLOCK": 1024, "num_warps": 4}
SELECT_PER_WARP, MOST_WARPS = 256, 16
"""Patches of a frame that a warp selects among, and how many warps a frame has at most."""
PROGRAMS = 16
"""Programs for each multiprocessor that search queries to the end; on a CPU, in all."""


@dataclass(frozen=True, slots=True)
class Index:
    """What the kernels are given of an index over rows: see `search.device`."""

    count: int
    scale: float
    rows: Tensor
    """Float32 (M', D), `count` of them and room for more."""
    factors: Tensor
    """Half (M', K), M' a multiple of `FUSED_FOLD`."""
    groups: RowGroups


@dataclass(frozen=True, slots=True)
class HalfRange:
    """The range and precision of points in half precision: see `search.device`."""

    unit: float
    largest_norm: float
    smallest_shrink: float
    underflow: float


class FusedSearch:
    """Starts the kernels for one index, whose axes stay the same."""

    def __init__(self, centre: Doubles, axes: Doubles, limits: HalfRange, device: torch.device) -> None:
        """Raises ImportError where Triton is not installed."""
        from patchline.engine.search import search_kernels, selection_kernels

        self._search_kernels, self._selection = search_kernels, selection_kernels
        self._range = limits
        self._device = device
        on_gpu = device.type == "cuda"
        multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count if on_gpu else 1
        self._programs = PROGRAMS * multiprocessors
        self._width = axes.shape[1]
        self.columns = max(16, 1 << (self._width + 1).bit_length())
        """K: a point's values and 1, filled up with zeros to a power of two."""
        whole = np.zeros((len(axes), self.columns))
        whole[:, : self._width] = axes * AXES_SCALE
        high = whole.astype(np.float16)
        self._axes = torch.from_numpy(np.stack([high, (whole - high).astype(np.float16)])).to(device)
        offset = np.zeros(self.columns, dtype=np.float32)
        offset[: self._width] = centre @ axes
        self._offset = torch.from_numpy(offset).to(device)
        self._centre = torch.from_numpy(centre.astype(np.float32)).to(device)
        self._centre_norm = float(np.linalg.norm(centre))

    def nearest(self, index: Index, Q: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest row of each query, half (n, D): see `DeviceSearch.nearest` for k = 1."""
        answers = _Answers(len(Q), self._device)
        for part in torch.split(Q, self._queries_at_once(index)):
            prepared = self._prepare(index, part.contiguous())
            all_numbers = torch.arange(len(part), device=self._device)
            self._search(prepared, all_numbers, torch.full((1,), len(part), device=self._device), REFINE_ALL_TILES)
            self._unpack(prepared, answers)
        return answers.sq[:, None], answers.rows[:, None]

    def farthest(self, index: Index, frames: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k farthest patches of each frame, half (B, P, D): see `DeviceSearch.farthest_of_frames`."""
        B, P = frames.shape[:2]
        k, block = min(k, P), _power_of_two(P)
        tiles = {"BLOCK": block, "num_warps": min(MOST_WARPS, max(1, block // SELECT_PER_WARP))}
        answers = _Answers(B * P, self._device)
        for part in torch.split(frames, max(1, self._queries_at_once(index) // P)):
            prepared = self._prepare(index, part.flatten(0, 1).contiguous())
            largest = torch.empty(len(part) * k, device=self._device, dtype=torch.int64)
            others = torch.empty(len(part) * P, device=self._device, dtype=torch.int64)
            counts = torch.empty((2, 2), device=self._device, dtype=torch.int64)  # each begins at 16 bytes
            self._selection.largest_kernel[(len(part),)](prepared.nearest, largest, counts[0], counts[1], P, k, **tiles)
            self._search(prepared, largest, counts[0], REFINE_SOME_TILES)
            self._selection.others_kernel[(len(part),)](prepared.nearest, largest, others, counts[1], P, k, **tiles)
            self._search(prepared, others, counts[1], REFINE_SOME_TILES)
            self._unpack(prepared, answers)
        return answers.sq.view(B, P), answers.rows.view(B, P)

    @staticmethod
    def _queries_at_once(index: Index) -> int:
        return max(1, LEAST_VALUES // (len(index.factors) // FUSED_FOLD))

    def _prepare(self, index: Index, Q: Tensor) -> "_Prepared":
        n, D = Q.shape
        K, limits = self.columns, self._range
        factors = torch.empty((n, K), device=self._device, dtype=torch.float16)
        terms = torch.empty((3, n), device=self._device)
        near = torch.empty((n, 2), device=self._device, dtype=torch.int32)
        nearest = torch.empty(n, device=self._device, dtype=torch.int64)
        self._search_kernels.points_kernel[(-(-n // POINTS_TILES["BLOCK"]),)](
            Q, self._centre, self._axes, self._offset, factors, terms, n,
            index.scale, self._centre_norm, 1 / AXES_SCALE, (D // 16 + 16) * 2.0**-22, sqrt(self._width),
            limits.largest_norm, limits.smallest_shrink, D, self._width, K, **POINTS_TILES,
        )  # fmt: skip
        self._search_kernels.near_groups_kernel[(-(-n // NEAR_GROUPS_TILES["BLOCK"]),)](
            factors, index.groups.centres, near, n, GROUPS, K, **NEAR_GROUPS_TILES
        )
        self._search_kernels.first_kernel[(n,)](
            Q, index.rows, factors, index.factors, near, index.groups.members, nearest,
            D, _power_of_two(D), K, index.groups.size, **FIRST_TILES,
        )  # fmt: skip
        return _Prepared(index, Q, factors, terms, nearest)

    def _unpack(self, prepared: "_Prepared", answers: "_Answers") -> None:
        n, sq, rows = len(prepared.nearest), *answers.next(len(prepared.nearest))
        self._selection.unpack_kernel[(-(-n // UNPACK_TILES["BLOCK"]),)](prepared.nearest, sq, rows, n, **UNPACK_TILES)

    def _search(self, prepared: "_Prepared", numbers: Tensor, total: Tensor, tiles: dict[str, int]) -> None:
        """Find the nearest rows of the first `total`, int64 (1,), of the queries `numbers`, int64, on the device."""
        index, (n, D) = prepared.index, prepared.Q.shape
        K, fold = self.columns, len(index.factors) // FUSED_FOLD
        least = torch.empty((len(numbers), fold), device=self._device)
        work = -(-len(numbers) // LEAST_TILES["BLOCK"]) * -(-fold // LEAST_TILES["COLUMNS"])
        self._search_kernels.least_kernel[(min(work, self._programs),)](
            numbers, total, prepared.factors, index.factors, least, fold, K, FUSED_FOLD, **LEAST_TILES
        )
        self._search_kernels.refine_kernel[(min(len(numbers) * tiles["SPLIT"], self._programs),)](
            numbers, total, prepared.Q, index.rows, prepared.factors, index.factors, least,
            prepared.terms, prepared.nearest, n, index.count, fold, index.scale,
            1 + 2 * (D + 4) * UNIT, 1 - 2 * self._range.unit, SLACK, self._range.underflow,
            D, _power_of_two(D), K, FUSED_FOLD, **tiles,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Queries, half (n, D), with their points, and for each a row and its squared distance to begin with."""

    index: Index
    Q: Tensor
    factors: Tensor
    terms: Tensor
    nearest: Tensor
    """Int64 (n,): the bits of a squared distance, float32, above those of the row."""


class _Answers:
    """Squared distances, float32, and rows, int64, of `count` queries, filled from the first on."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.sq = torch.empty(count, device=device)
        self.rows = torch.empty(count, device=device, dtype=torch.int64)
        self._filled = 0

    def next(self, count: int) -> tuple[Tensor, Tensor]:
        """Where the answers of the next `count` queries go."""
        part = slice(self._filled, self._filled + count)
        self._filled += count
        return self.sq[part], self.rows[part]


def _power_of_two(count: int) -> int:
    return max(16, 1 << (count - 1).bit_length())
