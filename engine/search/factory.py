"""Chooses the search that a bank gets: the kind that was asked for, or the quickest on this machine."""

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
PROBES = 256
"""Queries by which searches are compared."""
TIMES = 4
"""How often each of them searches; its quickest time counts."""


def make_search(kind: SearchKind, rows: Floats, device: str = "cpu") -> NearestNeighbours:
    """Make an index over `rows`; every kind finds the same rows and distances.

    `auto` is the pruned search on a GPU, and FAISS flat for a small bank. For others on a CPU every kind is made, one
    after the other, and the one that takes the least time of a core is kept. The queries for that lie half-way between
    rows and the rows nearest to them: rows of a coreset are a covering radius apart, so these lie about as far from the
    bank as good patches do.

    Args:
        kind: which search, or `auto`.
        rows: float32 (M, D).
        device: torch's name of the device; `faiss` searches on the CPU whatever it is.

    Raises:
        ValueError: `rows` is empty or has another number of dimensions.
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
            return _quickest_of_all(rows)


def _quickest_of_all(rows: Floats) -> NearestNeighbours:
    """The search on a CPU that takes the least time of a core; no more than two of them are in memory at once."""
    best: NearestNeighbours = FaissSearch(rows)
    picked = rows[np.linspace(0, len(rows) - 1, PROBES).astype(np.int64)]
    queries = (picked + rows[best.search(picked, 2)[1][:, 1]]) * np.float32(0.5)
    least_s = _seconds(best, queries)
    for make in (TorchSearch, PrunedSearch):
        index = make(rows)
        if (taken_s := _seconds(index, queries)) < least_s:
            best, least_s = index, taken_s
    return best


def _seconds(index: NearestNeighbours, queries: Floats) -> float:
    """The shortest time of one core for a search, in seconds.

    It runs on one core, as frames do that have a core each, and is taken by the clock of its thread, so that other work
    on the machine does not change the choice.
    """

    def search_s(_: int) -> float:
        start = thread_time()
        index.search(queries, 1)
        return thread_time() - start

    return min(spread(search_s, range(TIMES), alike=lambda: False))
