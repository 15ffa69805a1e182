"""Every kind of search, rows and queries like those of real banks, and the plain search that all are compared with."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from patchline.engine.search.device import DeviceSearch
from patchline.engine.search.flat import FaissSearch, TorchSearch
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.search.pruned import PrunedSearch

KINDS: dict[str, Callable[[NDArray[np.float32]], NearestNeighbours]] = {
    "faiss": FaissSearch,
    "torch": TorchSearch,
    "pruned": PrunedSearch,
    "pruned on 16 axes": lambda rows: PrunedSearch(rows, 16),
    "device": DeviceSearch,
    "device, half precision": lambda rows: DeviceSearch(rows, half=True),
}


def features(count: int, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Rows near a curved low-dimensional sheet, far from the origin, on the grid of a 16-bit file."""
    mixing = np.random.default_rng(99).normal(size=(12, dimensions))
    rng = np.random.default_rng(seed)
    values = np.abs(rng.normal(size=(count, 12)) @ mixing) + 0.1 * rng.normal(size=(count, dimensions)) + 20
    return np.asarray(np.rint(values.astype(np.float32) * 512) / np.float32(512), dtype=np.float32)


def plain(
    rows: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same by definition, in float64."""
    distances = np.stack([np.sqrt(((rows.astype(np.float64) - query) ** 2).sum(1)) for query in queries])
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order
