"""FAISS flat on the peer's side: one index, one set of frames, timed in every way that FAISS can be asked."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch  # noqa: F401 - its OpenMP runtime serves FAISS too, as in the product
from numpy.typing import NDArray

STATE: dict[str, Any] = {}


def flat_load(bank: str, frames: str) -> dict[str, Any]:
    """Make an index over rows, float32 (M, D), for queries, float32 (F, P, D), both of .npy files."""
    import faiss

    STATE.clear()  # the former index goes before the next one comes
    rows = np.load(bank, mmap_mode="r")
    STATE["rows"], STATE["frames"] = rows, np.load(frames)
    STATE["index"] = faiss.IndexFlatL2(rows.shape[1])
    STATE["index"].add(rows)
    return {}


def flat_time(
    batch: int, threads: int, apart: bool, neighbours: int, limit_s: float = float("inf"), frames: int | None = None
) -> dict[str, Any]:
    """Seconds until the nearest row of every patch, and the neighbours of the farthest patch's row, are found.

    Args:
        batch: frames that FAISS searches at once.
        threads: of FAISS; with `apart`, threads that search a frame each, FAISS with one thread in each of them.
        apart: see `threads`.
        neighbours: of the farthest patch's row.
        limit_s: where it takes longer, it is given up between batches, and the reply has `stopped`.
        frames: how many of the frames are searched; all of them by default.
    """
    import faiss

    some = STATE["frames"][:frames]
    if apart:
        with ThreadPoolExecutor(threads, initializer=lambda: faiss.omp_set_num_threads(1)) as pool:
            list(pool.map(lambda _: time.sleep(0.01), range(threads)))  # the threads are there
            start = time.perf_counter()
            list(pool.map(lambda frame: _search(frame[None], neighbours), some))
            return {"seconds": time.perf_counter() - start}
    faiss.omp_set_num_threads(threads)
    start = time.perf_counter()
    for first in range(0, len(some), batch):
        if (spent := time.perf_counter() - start) > limit_s:
            return {"seconds": spent, "stopped": True}
        _search(some[first : first + batch], neighbours)
    return {"seconds": time.perf_counter() - start}


def flat_search(distances: str) -> dict[str, Any]:
    """Squared distances of the first frame's patches to their nearest rows, float32 (P,), into a .npy file."""
    np.save(distances, STATE["index"].search(STATE["frames"][0], 1)[0][:, 0])
    return {}


def _search(frames: NDArray[np.float32] | Sequence[NDArray[np.float32]], neighbours: int) -> None:
    index, rows = STATE["index"], STATE["rows"]
    F, P, D = np.shape(frames)
    sq, nearest = index.search(np.reshape(frames, (F * P, D)), 1)
    worst = sq.reshape(F, P).argmax(1)
    index.search(rows[nearest.reshape(F, P)[np.arange(F), worst]], neighbours)
