"""Exact nearest neighbours: one protocol, several ways to find the candidates, one way to measure them.

Whatever proposes candidates (FAISS flat, torch, a projection), the distances returned are sums of squared differences
of the stored float32 values, and a proposal is accepted only where its error bound proves that no nearer row was left
out. So all searches return the same rows and distances, for any batch of queries.
"""

from time import thread_time
from typing import Literal, Protocol, TypeAlias

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from engine.cores import spread
from engine.device import full_float32

Floats: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int64]
SearchKind: TypeAlias = Literal["auto", "faiss", "torch", "pruned"]

WORTH_PRUNING = 1024
"""Rows below which flat search is so quick that nothing need be measured."""
PROBES, TIMES = 256, 4
"""Queries by which the quicker search is told, and how often they are searched."""
UNIT = 2.0**-24
"""Unit round-off of float32."""
FOLD = 16
"""Bounds are first reduced to the least of each `FOLD`, so that all later steps touch 1/16 of them."""


class NearestNeighbours(Protocol):
    """An index over the rows of a memory bank, float32 (M, D); it grows in place."""

    @property
    def grows_apart(self) -> bool:
        """Whether a shallow copy may grow, once, while this one is searched on as it is; they share room for rows."""

    def __len__(self) -> int: ...

    def add(self, rows: Floats) -> None:
        """Append `rows`, float32 (m, D), in place; nobody may be searching."""

    def anew(self, rows: Floats) -> "NearestNeighbours":
        """Another index of this kind over other rows, float32 (M, D); what was chosen for this one is taken over."""

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """The k nearest rows of each query, float32 (n, D).

        Returns L2 distances (not squared), float32 (n, k), ascending, and row numbers, int64 (n, k); ties go to the
        lowest row. Raises ValueError for a wrong shape, and for k outside 1 ... M.
        """

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """The k of the queries, float32 (n, D), that lie farthest from the rows; all where there are fewer.

        Returns their numbers, int64 (k,), their distances and nearest rows, float32 and int64 (k,), as `search` gives
        them, by falling distance; ties go to the lowest query. Raises ValueError for a wrong shape.
        """


def checked(queries: Floats, k: int, dimensions: int, rows: int) -> Floats:
    """`queries` as a contiguous float32 (n, D), or ValueError."""
    if queries.ndim != 2 or queries.shape[1] != dimensions:
        raise ValueError(f"queries: found shape {queries.shape}, expected (n, {dimensions})")
    if not 1 <= k <= rows:
        raise ValueError(f"k: found {k}, expected 1 to {rows}, the number of rows in the index")
    return np.ascontiguousarray(queries, dtype=np.float32)


def sq_pairs(queries: Floats, query_of: Indices, rows: Floats, row_of: Indices) -> Floats:
    """Squared L2 of the pairs (queries[query_of[i]], rows[row_of[i]]), float32 (p,): sums of squared differences.

    Each pair's value depends on that pair alone, never on its neighbours in the batch.
    """
    query_of, row_of = np.ascontiguousarray(query_of), np.ascontiguousarray(row_of)
    out = np.empty(len(query_of), dtype=np.float32)
    if len(out):
        faiss.pairwise_indexed_L2sqr(  # type: ignore[attr-defined]  # SWIG makes it at import
            rows.shape[1],
            len(out),
            faiss.swig_ptr(queries),
            faiss.swig_ptr(query_of),
            faiss.swig_ptr(rows),
            faiss.swig_ptr(row_of),
            faiss.swig_ptr(out),
        )
    return out


def nearest_of(sq: Floats, candidates: Indices, k: int) -> tuple[Floats, Indices]:
    """The k nearest of each query's candidates, (n, c) -> (n, k); still squared; ties to the lowest row."""
    order = np.lexsort((candidates, sq), axis=1)[:, :k]
    return np.take_along_axis(sq, order, 1), np.take_along_axis(candidates, order, 1)


def farthest_of(distances: Floats, nearest: Indices, k: int) -> tuple[Indices, Floats, Indices]:
    """See `NearestNeighbours.farthest`, of the distances and nearest rows of all queries, (n,) each."""
    chosen = np.lexsort((np.arange(len(distances)), -distances))[:k]
    return chosen, distances[chosen], nearest[chosen]


def farthest_by_search(index: NearestNeighbours, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
    """See `NearestNeighbours.farthest`: all are searched."""
    distances, nearest = index.search(queries, 1)
    return farthest_of(distances[:, 0], nearest[:, 0], k)


class TensorNearest(Protocol):
    """An index whose queries and answers are tensors on its device."""

    def nearest(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The k nearest rows of each query, float (n, D).

        Returns squared L2 distances, float32 (n, k), ascending, and row numbers, int64 (n, k); ties go to the lowest.
        """


def nearest_of_frames(index: TensorNearest, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest row of every patch of frames, float (B, P, D): squared distances, float32, and rows, int64 (B, P)."""
    sq, rows = index.nearest(frames.flatten(0, 1), 1)
    return sq.view(frames.shape[:2]), rows.view(frames.shape[:2])


def measured(
    Q: torch.Tensor, rows: torch.Tensor, candidates: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest of each query's candidates, int64 (n, c), for tensors as `nearest_of` for arrays.

    Returns squared L2 distances, float32 (n, k), as sums of squared differences, ascending, and rows, int64 (n, k).
    """
    candidates = candidates.sort(dim=1).values  # ties to the lowest row: the sort below is stable
    sq, order = (Q[:, None] - rows[candidates]).square_().sum(2).sort(dim=1, stable=True)
    return sq[:, :k], candidates.gather(1, order)[:, :k]


class FaissSearch:
    """FAISS `IndexFlatL2` proposes, exact differences decide.

    FAISS multiplies matrices: |q|^2 + |r|^2 - 2 q.r subtracts large numbers, with an error up to `_slack`. So more
    than k candidates are taken, until the last one is farther than the k-th exact distance by more than that error.
    """

    grows_apart = False

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

    def anew(self, rows: Floats) -> "FaissSearch":
        """See `NearestNeighbours.anew`."""
        return FaissSearch(rows)

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """See `NearestNeighbours.search`."""
        queries = checked(queries, k, self._rows.shape[1], len(self))
        n = len(queries)
        sq, nearest = np.empty((n, k), dtype=np.float32), np.empty((n, k), dtype=np.int64)
        centred = queries - self._centre
        slack = self._slack(centred)
        pending, width = np.arange(n), k + 8
        while len(pending):
            width = min(width, len(self))
            proposed, candidates = self._index.search(centred[pending], width)
            exact = sq_pairs(queries, np.repeat(pending, width), self._rows, candidates.ravel()).reshape(-1, width)
            sq[pending], nearest[pending] = nearest_of(exact, candidates, k)
            if width == len(self):
                break
            pending = pending[proposed[:, -1] - slack[pending] <= sq[pending, -1]]
            width *= 8
        return np.sqrt(sq), nearest

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """See `NearestNeighbours.farthest`."""
        return farthest_by_search(self, queries, k)

    def _slack(self, centred: Floats) -> Floats:
        """The error of one proposed squared distance, (n,): (D + 4) u (|q| + |r|)^2, twice for both sides."""
        norms = np.sqrt(np.einsum("nd,nd->n", centred, centred)) + self._norm
        return np.asarray(2 * (centred.shape[1] + 4) * UNIT * norms**2, dtype=np.float32)


class TorchSearch:
    """The same in torch, on any device: matrix products propose, exact differences decide."""

    grows_apart = False

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

    def anew(self, rows: Floats) -> "TorchSearch":
        """See `NearestNeighbours.anew`."""
        return TorchSearch(rows, str(self._device))

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """See `NearestNeighbours.search`."""
        queries = checked(queries, k, self._rows.shape[1], len(self))
        sq, nearest = self.nearest(torch.tensor(queries, device=self._device), k)
        return np.sqrt(sq.cpu().numpy()), nearest.cpu().numpy()

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """See `NearestNeighbours.farthest`."""
        return farthest_by_search(self, queries, k)

    @property
    def rows(self) -> torch.Tensor:
        """The rows of the index, float32 (M, D) on the device."""
        return self._rows

    @torch.inference_mode()
    def nearest(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for tensors on the device, float (n, D); squared distances, float32 (n, k), and rows, (n, k)."""
        with full_float32(self._device):
            found = [self._search_block(block.float(), k) for block in torch.split(queries, 784)]
        sq, nearest = (torch.cat(parts) for parts in zip(*found, strict=True))
        return sq, nearest

    def farthest_of_frames(self, frames: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG002
        """The nearest row of every patch of frames, float (B, P, D): squared distances and rows, (B, P)."""
        return nearest_of_frames(self, frames)

    def _search_block(self, Q: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        centred = Q - self._centre
        sq_norms = centred.square().sum(1)
        proposed = torch.addmm(self._sq_norms, centred, self._centred.T, alpha=-2).add_(sq_norms[:, None])  # (n, M)
        slack = 2 * (Q.shape[1] + 4) * UNIT * (sq_norms.sqrt() + self._sq_norms.max().sqrt()) ** 2
        width = min(k + 8, len(self))
        while True:
            values, candidates = proposed.topk(width, dim=1, largest=False)
            sq, nearest = measured(Q, self._rows, candidates, k)
            if width == len(self) or bool((values[:, -1] - slack > sq[:, k - 1]).all()):
                return sq, nearest
            width = min(width * 8, len(self))


def make_search(kind: SearchKind, rows: Floats, device: str = "cpu") -> NearestNeighbours:
    """An index over `rows`, float32 (M, D); every kind gives the same rows and distances.

    `auto` is the pruned search on a GPU; on a CPU it is whichever of FAISS flat and the pruned search takes less of a
    core here, on queries half-way between rows and the rows nearest to them: rows of a coreset are a covering radius
    apart, so these lie from the bank as good patches do. Raises ValueError for an empty or wrongly shaped array.
    """
    from engine.device_search import DeviceSearch  # they build on this module
    from engine.pruned_search import PrunedSearch

    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"rows: found shape {rows.shape}, expected (M, D), neither of them 0")
    if kind == "auto" and torch.device(device).type != "cpu":
        kind = "pruned"
    if kind == "auto" and len(rows) < WORTH_PRUNING:
        kind = "faiss"
    match kind:
        case "torch":
            return TorchSearch(rows, device)
        case "faiss":
            return FaissSearch(rows)
        case "pruned":
            return PrunedSearch(rows) if torch.device(device).type == "cpu" else DeviceSearch(rows, device)
        case "auto":
            flat = FaissSearch(rows)
            picked = rows[np.linspace(0, len(rows) - 1, PROBES).astype(np.int64)]
            queries = (picked + rows[flat.search(picked, 2)[1][:, 1]]) * np.float32(0.5)
            indexes: list[NearestNeighbours] = [PrunedSearch(rows), flat]
            return min(indexes, key=lambda index: _seconds(index, queries))


def _seconds(index: NearestNeighbours, queries: Floats) -> float:
    """Of a core for a search, as frames have one each, by the clock of its thread: a busy machine changes no choice."""

    def search(_: int) -> float:
        start = thread_time()
        index.search(queries, 1)
        return thread_time() - start

    return min(spread(search, range(TIMES), alike=lambda: False))
