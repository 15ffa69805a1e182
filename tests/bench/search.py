"""Exact search of all patches of test frames at a 10 % bank, with Eq. 7's neighbours, against FAISS at its best."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline.engine.benchmark.ways import search_way
from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.numerics.core_pool import spread
from patchline.engine.numerics.quantise import dequantise
from patchline.engine.search.factory import make_search
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.types import Rows
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.flat import NEIGHBOURS, FlatPeers, check_alike, flat_peers, ways
from tests.bench.row import Row, from_times
from tests.bench.stored_patches import efficientnet_lite0, stored_patches
from tests.bench.timing import compare, timed

FRAMES = 16


@dataclass(frozen=True)
class Patches:
    """Patches of a product by a backbone: `images` are fitted to, and `rows` of their patches are a 10 % bank."""

    product: str
    weights: workload.Weights
    images: int
    rows: int

    def stored(self, bench: Bench) -> tuple[Rows, float]:
        """All of them, as int16 (N, D), and their scale; made once and kept."""
        fitted = workload.fitted_paths(bench, self.product)[0][: self.images]
        return stored_patches(bench, self.weights, fitted)

    def frames(self, bench: Bench, count: int) -> list[NDArray[np.float32]]:
        """Patches of test frames, good and defective, float32 (P, D) each; made once and kept."""
        of = f"{self.product}-{self.weights.timm_name}-{'.'.join(map(str, self.weights.layers))}"
        kept = bench.build / f"frames-{of}-{count}.npy"
        if not kept.exists():
            paths = workload.held_out(bench, self.product, count)[0]
            np.save(kept, np.stack([workload.patches_of(self.weights, [workload.read(path)]) for path in paths]))
        return list(np.load(kept))


def patches_by_dimensions() -> dict[int, Patches]:
    """Dimensions -> the patches that have so many values."""
    return {
        152: Patches("magnetic_tile", efficientnet_lite0("2", "3"), 200, 15_680),
        496: Patches("magnetic_tile", efficientnet_lite0("1", "2", "3", "4"), 50, 15_680),
        1536: Patches("magnetic_tile", workload.wide_resnet50(), 209, 16_385),
    }


GOALS = {152: (2.5, 2.0), 496: (4.5, 3.5), 1536: (8.0, 5.0)}
"""Dimensions -> the goal with AVX-512 VNNI, and with AVX2."""


def search(bench: Bench) -> list[Row]:
    """`search_152`, `search_496` and `search_1536`."""
    with flat_peers(bench) as faiss:
        return [
            _measure(bench, faiss, D, patches)
            for D, patches in patches_by_dimensions().items()
            if bench.wants(f"search_{D}")
        ]


def _measure(bench: Bench, faiss: FlatPeers, D: int, patches: Patches) -> Row:
    figure = f"search_{D}"
    bank = rows_of(bench, patches, patches.rows)
    frames = patches.frames(bench, 4 if bench.quick else FRAMES)
    index = make_search("auto", bank)
    faiss.all_anew()
    flat = faiss.best(bank, frames, ways(bench.threads, len(frames)))
    comparison = compare(timed(judging(index, bank, frames)), flat.timed, repeats=bench.repeats)
    check_alike(index.search(frames[0], 1)[0][:, 0], flat, figure)
    bench.say(
        f"{figure}: {len(frames)} test frames of {len(frames[0])} patches against {len(bank)} x {D}, "
        f"{patches.product}, weights {patches.weights.stated}; on both sides the nearest row of every patch, and of "
        f"the farthest patch's row the {NEIGHBOURS} neighbours of Eq. 7\n"
        f"ours: {search_way(index)}, a frame on each core as the engine does\n"
        f"FAISS flat at its best: {flat.name}; tried: {flat.tried}\n"
        f"{comparison.ratio:.2f} times faster"
    )
    vnni, avx2 = GOALS[D]
    return from_times(
        figure,
        comparison,
        goal=bench.goal(vnni=vnni, avx2=avx2),
        unit="frames/s",
        work=len(frames),
        peer_loaded=flat.loaded,
    )


def judging(
    index: NearestNeighbours, bank: NDArray[np.float32], frames: Sequence[NDArray[np.float32]]
) -> Callable[[], object]:
    """What our side does of each frame: the nearest row of every patch, then the farthest one's row's neighbours."""

    def judge(queries: NDArray[np.float32]) -> None:
        distances, nearest = index.search(queries, 1)
        index.search(bank[nearest[distances[:, 0].argmax()]], NEIGHBOURS)

    return lambda: spread(judge, frames, lambda: True)


def rows_of(bench: Bench, patches: Patches, count: int) -> NDArray[np.float32]:
    """The first `count` rows of a greedy coreset of the patches, float32 (count, D): a coreset of its own.

    A coreset of a tenth of the patches, and somewhat more, is chosen once and kept.
    """
    vectors, scale = patches.stored(bench)
    largest = min(max(16_000, patches.rows), len(vectors) // 9)
    kept = _kept(bench, patches, len(vectors), largest)
    if not kept.exists():
        start = time.perf_counter()
        np.save(kept, greedy_coreset(vectors, largest, seed=workload.SEED).indices)
        bench.say(f"coreset {vectors.shape} -> {largest}, once: {time.perf_counter() - start:.1f} s")
    return dequantise(np.asarray(vectors[np.load(kept)[:count]]), scale)


def _kept(bench: Bench, patches: Patches, vectors: int, rows: int) -> Path:
    of = f"{patches.product}-{patches.weights.timm_name}-{'.'.join(map(str, patches.weights.layers))}"
    return bench.build / f"rows-{of}-{vectors}-{rows}.npy"
