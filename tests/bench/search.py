"""Exact search of all patches of test frames at a 10 % bank, against FAISS flat; both with Eq. 7's b neighbours."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.numerics.core_pool import spread
from patchline.engine.numerics.faiss_library import faiss
from patchline.engine.numerics.quantise import dequantise
from patchline.engine.search.factory import make_search
from tests.bench import workload
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.row import Row, from_times
from tests.bench.stored_patches import efficientnet_lite0, stored_patches
from tests.bench.timing import Timed, compare, fastest, timed

NEIGHBOURS = 9
FRAMES = 16


@dataclass(frozen=True)
class Case:
    """A bank and its goal. `images` are fitted to, and `rows` of their patches kept."""

    figure: str
    product: str
    weights: workload.Weights
    images: int
    rows: int
    goal: float


def search(bench: Bench) -> list[Row]:
    """`search_152`, `search_496` and `search_1536`."""
    return [
        _measure(bench, case)
        for case in (
            Case("search_152", "magnetic_tile", efficientnet_lite0("2", "3"), 200, 15_680, 3.0),
            Case("search_496", "magnetic_tile", efficientnet_lite0("1", "2", "3", "4"), 50, 15_680, 5.0),
            Case("search_1536", "magnetic_tile", workload.wide_resnet50(), 209, 16_385, 6.0),
        )
    ]


def _measure(bench: Bench, case: Case) -> Row:
    fitted = workload.fitted_paths(bench, case.product)[0][: case.images]
    frames = _queries(bench, case)
    bank = _bank(bench, case, fitted)
    index = make_search("auto", bank)

    def judge(queries: NDArray[np.float32]) -> None:
        distances, nearest = index.search(queries, 1)
        index.search(bank[nearest[distances[:, 0].argmax()]], NEIGHBOURS)

    def ours() -> None:
        spread(judge, frames, lambda: True)

    flat = faiss.IndexFlatL2(bank.shape[1])
    flat.add(bank)
    name, peer = fastest(
        {
            f"{batch} frames a batch, {threads} threads": _flat(flat, bank, frames, batch, threads)
            for batch in (1, 8, len(frames))
            for threads in sorted({1, bench.threads})
        },
        repeats=1,
    )
    comparison = compare(timed(ours), peer, repeats=bench.repeats)
    faiss.omp_set_num_threads(bench.threads)
    _agree(index.search(frames[0], 1), flat.search(frames[0], 1), case.figure)
    bench.say(
        f"{case.figure}: {len(frames)} test frames of {len(frames[0])} patches against {len(bank)} x {bank.shape[1]}, "
        f"{case.product}, weights {case.weights.stated}; on both sides the nearest row of every patch, and of the "
        f"farthest patch's row the {NEIGHBOURS} neighbours of Eq. 7\n"
        f"ours: {type(index).__name__}, a frame on each core as the engine does; FAISS flat at its best: {name}\n"
        f"{comparison.ratio:.2f} times faster"
    )
    return from_times(case.figure, comparison, goal=case.goal, unit="frames/s", work=len(frames))


def _flat(
    flat: faiss.IndexFlatL2, bank: NDArray[np.float32], frames: Sequence[NDArray[np.float32]], batch: int, threads: int
) -> Timed:
    def run() -> None:
        faiss.omp_set_num_threads(threads)
        for start in range(0, len(frames), batch):
            some = frames[start : start + batch]
            sq, nearest = flat.search(np.concatenate(some), 1)
            worst = sq.reshape(len(some), -1).argmax(1)
            flat.search(bank[nearest.reshape(len(some), -1)[np.arange(len(some)), worst]], NEIGHBOURS)

    return timed(run)


def _agree(
    ours: tuple[NDArray[np.float32], NDArray[np.int64]],
    theirs: tuple[NDArray[np.float32], NDArray[np.int64]],
    figure: str,
) -> None:
    """Both find the same distances, as far as FAISS's rounding lets it."""
    if not np.allclose(ours[0] ** 2, theirs[0], rtol=1e-2, atol=1e-3 * float(theirs[0].mean())):
        raise FigureUnavailableError(f"{figure}: the distances differ from FAISS's")


def _queries(bench: Bench, case: Case) -> list[NDArray[np.float32]]:
    paths = workload.held_out(bench, case.product, 4 if bench.quick else FRAMES)[0]
    return [workload.patches_of(case.weights, [workload.read(path)]) for path in paths]


def _bank(bench: Bench, case: Case, fitted: Sequence[Path]) -> NDArray[np.float32]:
    vectors, scale = stored_patches(bench, case.weights, fitted)
    count = min(case.rows, len(vectors) // 10)
    kept = bench.build / f"{case.figure}-{len(fitted)}-{count}.npy"
    if not kept.exists():
        start = time.perf_counter()
        np.save(kept, greedy_coreset(vectors, count, seed=workload.SEED).indices)
        bench.say(f"coreset {vectors.shape} -> {count}, once: {time.perf_counter() - start:.1f} s")
    return dequantise(np.asarray(vectors[np.load(kept)]), scale)
