"""Which of the exact searches a bank gets: the one asked for, or the quickest here."""

from time import thread_time
from typing import Literal, TypeAlias

import numpy as np
import torch

from patchline.engine.numerics.core_pool import spread
from patchline.engine.search.device import DeviceSearch
from patchline.engine.search.flat import FaissSearch, TorchSearch
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.search.pruned import PrunedSearch
from patchline.engine.types import Floats

SearchKind: TypeAlias = Literal["auto", "faiss", "torch", "pruned"]
WORTH_PRUNING = 1024
"""Rows below which flat search is so quick that nothing need be measured."""
PROBES, TIMES = 256, 4
"""Queries by which the quicker search is told, and how often they are searched."""


def make_search(kind: SearchKind, rows: Floats, device: str = "cpu") -> NearestNeighbours:
    """An index over `rows`, float32 (M, D); every kind gives the same rows and distances.

    `auto` is the pruned search on a GPU; on a CPU it is whichever of FAISS flat and the pruned search takes less of a
    core here, on queries half-way between rows and the rows nearest to them: rows of a coreset are a covering radius
    apart, so these lie from the bank as good patches do. Raises ValueError for an empty or wrongly shaped array.
    """
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
