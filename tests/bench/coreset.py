"""Greedy k-center on 156,800 patch embeddings of 176 values: to 1 % against anomalib, to 10 % against plain greedy."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.centre_distances import CentreDistances
from patchline.engine.coreset.greedy import LARGEST_BLOCK, greedy_coreset
from patchline.engine.numerics.compiled import load_ahead
from patchline.engine.numerics.quantise import dequantise
from patchline.engine.types import Rows
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.loaded import Loaded
from tests.bench.played import play_along
from tests.bench.row import Row, from_times, from_values
from tests.bench.stored_patches import efficientnet_lite0, stored_patches
from tests.bench.timing import compare, timed

IMAGES = 50
PRODUCT = "magnetic_tile"
PROJECTION = 64
HEAP_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""Have glibc take what is large from its heap too, and never give the heap back."""


def coreset(bench: Bench) -> list[Row]:
    """To 1 %, and the covering radius, measured alike on both sides; the projected choice beside them.

    Each repeat has a process of its own on both sides, as a fit has. It matters: for every centre anomalib asks for
    some 180 MB, which the C library takes from the kernel and gives back, until so much lies free in one piece of the
    heap. A second choice in the same process often finds that of the first, and then takes a fifth of the time. So
    `coreset` is against anomalib as it is installed, and `coreset_heap_kept` against anomalib in a process whose
    C library is told to keep what it has.
    """
    vectors, scale = _vectors(bench)
    count = len(vectors) // 100
    bench.say(
        f"{len(vectors)} x {vectors.shape[1]} -> {count} rows; both sides from embeddings in memory to indices, each "
        f"repeat in a process of its own"
    )
    stored, given, chosen = (bench.build / f"coreset-{name}.npy" for name in ("stored", "vectors", "indices"))
    np.save(stored, vectors)
    np.save(given, dequantise(vectors, scale))

    def ours() -> float:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=play_along) as process:
            return process.submit(_seconds, stored, count).result()

    rows = []
    heaps: tuple[Mapping[str, str], ...] = ({}, HEAP_KEPT)
    goals = {"coreset": bench.goal(vnni=100.0, avx2=60.0), "coreset_heap_kept": bench.goal(vnni=50.0, avx2=25.0)}
    for (figure, goal), variables in zip(goals.items(), heaps, strict=True):
        peer = _Anomalib(bench, given, chosen, variables)
        compared = compare(ours, peer.seconds, repeats=1 if bench.quick else min(bench.repeats, 3), warm_up=False)
        faults = ", ".join(f"{n / count:,.0f}" for n in peer.page_faults)
        bench.say(f"{figure}: {compared.ratio:.1f} times faster; the peer's page faults for each centre: {faults}")
        rows.append(from_times(figure, compared, goal=goal, peer_loaded=peer.loaded))
    radius = greedy_coreset(vectors, count, seed=workload.SEED, scale=scale).radius
    projected = greedy_coreset(vectors, count, seed=workload.SEED, scale=scale, projection=PROJECTION)
    seconds = timed(lambda: greedy_coreset(vectors, count, seed=workload.SEED, projection=PROJECTION))()
    bench.say(
        f"covering radius {radius:.4f}; with a projection to {PROJECTION} dimensions {projected.radius:.4f} "
        f"in {seconds:.2f} s"
    )
    theirs = _radius(vectors, np.load(chosen), scale)
    return [*rows, from_values("coreset_radius", radius, theirs, goal=1.0, unit="L2", less_is_better=True)]


class _Anomalib:
    """anomalib's choice among vectors of a .npy file, its rows into another, each in a process with `variables`."""

    def __init__(self, bench: Bench, vectors: Path, chosen: Path, variables: Mapping[str, str]) -> None:
        self.page_faults: list[int] = []
        self.loaded: Loaded | None = None
        self._bench = bench
        self._asked = {"vectors": vectors, "indices": chosen, "fraction": 0.01, "seed": workload.SEED}
        self._variables = variables

    def seconds(self) -> float:
        with self._bench.new_peer(self._variables) as process:
            reply = process.ask("coreset", **self._asked)
            self.loaded = process.loaded()
        self.page_faults.append(reply["page_faults"])
        return float(reply["seconds"])


def coreset10(bench: Bench) -> list[Row]:
    """To 10 %, against one product for each centre over all vectors, in float32."""
    vectors, scale = _vectors(bench)
    count = len(vectors) // 10
    bench.say(f"{len(vectors)} x {vectors.shape[1]} -> {count} rows; plain greedy: one float32 product for each centre")
    found: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    values = dequantise(vectors, scale)

    def plain() -> None:
        found[0] = _plain_greedy(values, count, workload.SEED)

    ours = timed(lambda: greedy_coreset(vectors, count, seed=workload.SEED))
    comparison = compare(ours, timed(plain), repeats=1 if bench.quick else min(bench.repeats, 3), warm_up=False)
    radius = greedy_coreset(vectors, count, seed=workload.SEED, scale=scale).radius
    return [
        from_times("coreset10", comparison, goal=bench.goal(vnni=20.0, avx2=12.0)),
        from_values(
            "coreset10_radius",
            radius,
            _radius(vectors, found[0], scale),
            goal=1 - 1e-5,
            unit="L2",
            less_is_better=True,
        ),
    ]


def _seconds(stored: Path, count: int) -> float:
    load_ahead().join()  # as a fit has done while it read images
    vectors = np.load(stored)
    return timed(lambda: greedy_coreset(vectors, count, seed=workload.SEED))()


def _plain_greedy(values: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
    chosen = np.empty(count, dtype=np.int64)
    chosen[0] = np.random.default_rng(seed).integers(len(values))
    sq_norms = np.einsum("nd,nd->n", values, values)
    sq_nearest = np.full(len(values), np.inf, dtype=np.float32)
    for place in range(count):
        if place:
            chosen[place] = sq_nearest.argmax()
        centre = values[chosen[place]]
        np.minimum(sq_nearest, sq_norms - 2 * (values @ centre) + centre @ centre, out=sq_nearest)
    return chosen


def _radius(vectors: Rows, indices: NDArray[np.int64], scale: float) -> float:
    distances = CentreDistances(vectors)
    for start in range(0, len(indices), LARGEST_BLOCK):
        distances.add(indices[start : start + LARGEST_BLOCK])
    return scale * float(np.sqrt(distances.farthest()[1]))


def _vectors(bench: Bench) -> tuple[Rows, float]:
    weights = efficientnet_lite0("1", "2", "3")
    paths = workload.fitted_paths(bench, PRODUCT)[0][: 5 if bench.quick else IMAGES]
    bench.say(f"{len(paths)} good images of {PRODUCT}; EfficientNet-Lite0, strides 4, 8 and 16: {weights.stated}")
    return stored_patches(bench, weights, paths)
