"""What every search of a bank promises (`NearestNeighbours`), and the one way in which distances are measured.

Whatever proposes candidates (FAISS flat, torch, 8-bit codes, bounds in half precision), the distances returned are sums
of squared differences of the stored float32 values, and a proposal is accepted only where its error bound proves that
no nearer row was left out. So all searches return the same rows and distances, for any batch of queries.
"""

from typing import Protocol

import numpy as np
import torch

from patchline.engine.numerics.compiled import compiled
from patchline.engine.numerics.faiss_library import faiss
from patchline.engine.types import Floats, Indices

FOLD = 16
"""Bounds are first reduced to the least of each `FOLD`, so that all later steps touch one in `FOLD` of them."""


class NearestNeighbours(Protocol):
    """An index over the rows of a memory bank, float32 (M, D); it grows in place.

    Any number of threads may search an index on the CPU at once, one thread at a time an index on a device.
    """

    @property
    def copy_can_grow(self) -> bool:
        """Whether a shallow copy may grow, once, while this index is searched as it is; they share their room."""

    def __len__(self) -> int: ...

    def add(self, rows: Floats) -> None:
        """Append `rows`, float32 (m, D), in place; nobody may be searching."""

    def with_rows(self, rows: Floats) -> "NearestNeighbours":
        """Another index of this kind over other rows, float32 (M, D); what was chosen for this one is taken over."""

    def search(self, queries: Floats, k: int) -> tuple[Floats, Indices]:
        """Find the k nearest rows of each query.

        Args:
            queries: float32 (n, D).
            k: how many rows, from 1 to M.

        Returns:
            L2 distances (not squared), float32 (n, k), ascending, and row numbers, int64 (n, k); ties go to the lowest
            row.

        Raises:
            ValueError: the queries have a wrong shape, or k is outside 1 to M.
        """

    def farthest(self, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
        """Find the k queries that lie farthest from the rows; all of them where there are fewer.

        Args:
            queries: float32 (n, D).
            k: how many queries, 1 or more.

        Returns:
            The queries' numbers, int64 (k,), their distances, float32 (k,), and nearest rows, int64 (k,), as `search`
            gives them, by falling distance; ties go to the lowest query.

        Raises:
            ValueError: the queries have a wrong shape.
        """


def check_queries(queries: Floats, k: int, dimensions: int, rows: int) -> Floats:
    """Return `queries` as a contiguous float32 (n, D); raise ValueError for a wrong shape or `k`."""
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


@compiled
def least_of_pairs(sq: Floats, rows: Indices, starts: Indices, best: Floats, row: Indices) -> None:
    """Write the least of each query's measured pairs to `best` and its row to `row`, (n,) each: the lowest of equals.

    Args:
        sq: float32 (p,), squared distances of the pairs, ordered by query.
        rows: int64 (p,), the pairs' rows.
        starts: int64 (n + 1,): those of query i are `rows[starts[i] : starts[i + 1]]`, one or more.
        best: float32 (n,).
        row: int64 (n,).
    """
    for query in range(len(best)):
        least = starts[query]
        for pair in range(least + 1, starts[query + 1]):
            if sq[pair] < sq[least] or (sq[pair] == sq[least] and rows[pair] < rows[least]):
                least = pair
        best[query], row[query] = sq[least], rows[least]


def take_nearest(sq: Floats, candidates: Indices, k: int) -> tuple[Floats, Indices]:
    """The k nearest of each query's candidates, whose squared distances are `sq`, both (n, c); ties to the lowest row.

    Returns squared distances and rows, (n, k) each.
    """
    order = np.lexsort((candidates, sq), axis=1)[:, :k]
    return np.take_along_axis(sq, order, 1), np.take_along_axis(candidates, order, 1)


def take_farthest(distances: Floats, nearest: Indices, k: int) -> tuple[Indices, Floats, Indices]:
    """What `NearestNeighbours.farthest` returns, from the distances and nearest rows of all queries, (n,) each."""
    chosen = np.lexsort((np.arange(len(distances)), -distances))[:k]
    return chosen, distances[chosen], nearest[chosen]


def farthest_by_search(index: NearestNeighbours, queries: Floats, k: int) -> tuple[Indices, Floats, Indices]:
    """`NearestNeighbours.farthest` by a search of all queries."""
    distances, nearest = index.search(queries, 1)
    return take_farthest(distances[:, 0], nearest[:, 0], k)


class TensorNearest(Protocol):
    """An index whose queries and answers are tensors on its device."""

    @property
    def rows(self) -> torch.Tensor:
        """The rows of the index, float32 (M, D)."""

    def nearest(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The k nearest rows of each query, float (n, D).

        Returns squared L2 distances, float32 (n, k), ascending, and row numbers, int64 (n, k); ties go to the lowest.
        """


def search_by_tensors(index: TensorNearest, queries: Floats, k: int) -> tuple[Floats, Indices]:
    """`NearestNeighbours.search` by an index of tensors: queries go to its device, and answers come back."""
    M, D = index.rows.shape
    sq, nearest = index.nearest(torch.tensor(check_queries(queries, k, D, M), device=index.rows.device), k)
    return np.sqrt(sq.cpu().numpy()), nearest.cpu().numpy()


def nearest_of_frames(index: TensorNearest, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest row of every patch of frames, float (B, P, D): squared distances, float32, and rows, int64 (B, P)."""
    sq, rows = index.nearest(frames.flatten(0, 1), 1)
    return sq.view(frames.shape[:2]), rows.view(frames.shape[:2])


def nearest_measured(
    Q: torch.Tensor, rows: torch.Tensor, candidates: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest of each query's candidates, int64 (n, c), for tensors as `nearest_of` for arrays.

    Returns squared L2 distances, float32 (n, k), as sums of squared differences, ascending, and rows, int64 (n, k).
    """
    candidates = candidates.sort(dim=1).values  # ties to the lowest row: the sort below is stable
    sq, order = (Q[:, None] - rows[candidates]).square_().sum(2).sort(dim=1, stable=True)
    return sq[:, :k], candidates.gather(1, order)[:, :k]
