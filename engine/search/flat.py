"""Exact nearest neighbours by matrix products of all queries with all rows, by FAISS or by torch.

These are the searches of small banks, and what the others are measured against.
"""

import numpy as np
import torch

from patchline.engine.numerics.device import full_float32
from patchline.engine.numerics.faiss_library import faiss
from patchline.engine.numerics.rounding import UNIT
from patchline.engine.search.index import (
    check_queries,
    farthest_by_search,
    nearest_measured,
    nearest_of_frames,
    search_by_tensors,
    sq_pairs,
    take_nearest,
)
from patchline.engine.types import Floats, Indices

MORE_CANDIDATES = 8
"""Candidates proposed beyond k at first, and how many times as many after each proposal that proved too short."""
BLOCK_QUERIES = 784
"""Queries that torch multiplies with all rows at a time: the patches of a frame of 224 px at stride 8."""


class FaissSearch:
    """FAISS `IndexFlatL2` proposes candidates, exact differences decide.

    FAISS multiplies matrices, and |q|^2 + |r|^2 - 2 q.r subtracts large numbers, with an error of up to `_slack`. So
    more than k candidates are taken, until the last is farther than the k-th exact distance by more than that error.
    """

    copy_can_grow = False

    def __init__(self, rows: Floats) -> None:
        self._rows = np.empty((0, rows.shape[1]), dtype=np.float32)
        self._centre = rows.mean(0, dtype=np.float64).astype(np.float32)  # smaller norms, smaller errors
        self._index = faiss.IndexFlatL2(rows.shape[1])
        self._norm = 0.0
        self.add(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Floats) -> None:
        """Append `rows`, float32 (m, D)."""
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        centred = rows - self._centre
        self._index.add(centred)
        self._rows = np.concatenate([self._rows, rows])
        if len(rows):
            self._norm = max(self._norm, float(np.sqrt(np.einsum("nd,nd->n", centred, centred).max())))

    def with_rows(self, rows: Floats) -> "FaissSearch":
        """See `NearestNeighbours.with_rows`."""
        return FaissSearch(rows)

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """See `NearestNeighbours.search`."""
        queries = check_queries(queries, k, self._rows.shape[1], len(self))
        n = len(queries)
        sq, nearest = np.empty((n, k), dtype=np.float32), np.empty((n, k), dtype=np.int64)
        centred = queries - self._centre
        slack = self._slack(centred)
        pending, width = np.arange(n), k + MORE_CANDIDATES
        while len(pending):
            width = min(width, len(self))
            proposed, candidates = self._index.search(centred[pending], width)
            exact = sq_pairs(queries, np.repeat(pending, width), self._rows, candidates.ravel()).reshape(-1, width)
            sq[pending], nearest[pending] = take_nearest(exact, candidates, k)
            if width == len(self):
                break
            pending = pending[proposed[:, -1] - slack[pending] <= sq[pending, -1]]
            width *= MORE_CANDIDATES
        return np.sqrt(sq), nearest

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """See `NearestNeighbours.farthest`."""
        return farthest_by_search(self, queries, k)

    def _slack(self, centred: Floats) -> Floats:
        """Twice the error of one proposed squared distance, (D + 4) u (|q| + |r|)^2, as two are compared: (n,)."""
        norms = np.sqrt(np.einsum("nd,nd->n", centred, centred)) + self._norm
        return np.asarray(2 * (centred.shape[1] + 4) * UNIT * norms**2, dtype=np.float32)


class TorchSearch:
    """The same by torch, on any device: matrix products propose candidates, exact differences decide."""

    copy_can_grow = False

    def __init__(self, rows: Floats, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._centre = torch.from_numpy(rows.mean(0, dtype=np.float64).astype(np.float32)).to(self._device)
        self._rows = torch.empty((0, rows.shape[1]), device=self._device)
        self._centred = torch.empty((0, rows.shape[1]), device=self._device)
        self._sq_norms = torch.empty(0, device=self._device)
        self.add(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Floats) -> None:
        """Append `rows`, float32 (m, D)."""
        more = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)).to(self._device)
        centred = more - self._centre
        self._rows = torch.cat([self._rows, more])
        self._centred = torch.cat([self._centred, centred])
        self._sq_norms = torch.cat([self._sq_norms, centred.square().sum(1)])

    def with_rows(self, rows: Floats) -> "TorchSearch":
        """See `NearestNeighbours.with_rows`."""
        return TorchSearch(rows, str(self._device))

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """See `NearestNeighbours.search`."""
        return search_by_tensors(self, queries, k)

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """See `NearestNeighbours.farthest`."""
        return farthest_by_search(self, queries, k)

    @property
    def rows(self) -> torch.Tensor:
        """The rows of the index, float32 (M, D) on the device."""
        return self._rows

    @torch.inference_mode()
    def nearest(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `TensorNearest.nearest`."""
        with full_float32(self._device):
            blocks = [self._search_block(block.float(), k) for block in torch.split(queries, BLOCK_QUERIES)]
        sq, nearest = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        return sq, nearest

    def farthest_of_frames(self, frames: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG002
        """See `DeviceSearch.farthest_of_frames`: the nearest row of every patch, so that `k` does not matter."""
        return nearest_of_frames(self, frames)

    def _search_block(self, Q: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        centred = Q - self._centre
        sq_norms = centred.square().sum(1)
        proposed = torch.addmm(self._sq_norms, centred, self._centred.T, alpha=-2).add_(sq_norms[:, None])  # (n, M)
        slack = 2 * (Q.shape[1] + 4) * UNIT * (sq_norms.sqrt() + self._sq_norms.max().sqrt()) ** 2
        width = min(k + MORE_CANDIDATES, len(self))
        while True:
            values, candidates = proposed.topk(width, dim=1, largest=False)
            sq, nearest = nearest_measured(Q, self._rows, candidates, k)
            if width == len(self) or bool((values[:, -1] - slack > sq[:, k - 1]).all()):
                return sq, nearest
            width = min(width * MORE_CANDIDATES, len(self))
