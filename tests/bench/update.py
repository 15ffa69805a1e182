"""Learning one frame against fitting anew, and how well the rows that were learned cover all that was seen."""

import time
from dataclasses import replace
from statistics import median

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from patchline.engine.coreset.centre_distances import CentreDistances
from patchline.engine.coreset.greedy import LARGEST_BLOCK, greedy_coreset
from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset, begin, sq_integer
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.preprocess import prepare
from patchline.engine.numerics.quantise import dequantise, quantise
from patchline.engine.search.pruned import PrunedSearch
from patchline.engine.types import Rows
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.learning_line import altered
from tests.bench.row import Row, from_times, from_values
from tests.bench.stored_patches import efficientnet_lite0, stored_patches
from tests.bench.timing import Comparison

PRODUCT = "magnetic_tile"
PATCHES = 784
ROWS = 3000
FITTED = ROWS * 100 // PATCHES + 1
"""Frames whose 1 %, a recipe's default, is so many rows."""
FRAMES_EVER = 1000
DEFAULT_ADMISSION = 0.85


def update(bench: Bench) -> list[Row]:
    """One frame learned, into a 1 % bank of 3,000 rows and its index, against coreset and index of all of it anew."""
    fitted, scale = _fitted(bench, FITTED)
    frames = _altered(bench, scale, 4 if bench.quick else 20)
    first = _begin(fitted, 300 if bench.quick else ROWS, scale, budget=2 * ROWS)
    bench.say(f"{len(fitted)} x {fitted.shape[1]} fitted, {len(first.rows)} rows; both from embeddings in memory")
    values = dequantise(first.rows, scale)
    index = PrunedSearch(values)
    nearest = [index.search(dequantise(frame, scale), 1)[1][:, 0] for frame in frames]
    ours, peer, added = [], [], []
    for number, frame in enumerate(frames):
        own = index.with_rows(values[: len(values) // 2])
        own.add(values[len(values) // 2 :])  # an index that has learned before has room for more
        begun = time.perf_counter()
        state, delta = learn(first, "tapped", frame, nearest=nearest[number])
        own.add(dequantise(state.rows[delta.before :], scale))
        ours.append(time.perf_counter() - begun)
        added.append(delta.added)
        if number < (1 if bench.quick else min(bench.repeats, 3)):
            everything = np.concatenate([fitted, frame])
            begun = time.perf_counter()
            rows = everything[greedy_coreset(everything, len(state.rows), seed=workload.SEED).indices]
            PrunedSearch(dequantise(rows, scale))
            peer.append(time.perf_counter() - begun)
    bench.say(f"an update adds {median(added):.0f} rows (median) in {1000 * median(ours):.2f} ms")
    much = _history(first)
    pairs = [(_seconds(first, f, n), _seconds(much, f, n)) for f, n in zip(frames, nearest, strict=True) for _ in "123"]
    flat = Comparison([later for _, later in pairs], [early for early, _ in pairs])
    return [
        from_times("update", Comparison([median(ours)] * len(peer), peer), goal=500.0),
        from_times(f"update_after_{FRAMES_EVER}_frames", flat, goal=0.9),
    ]


def radius(bench: Bench) -> list[Row]:
    """The covering radius after learning, within the row budget, against offline greedy of as many rows.

    Admission 1 spends rows as offline greedy does: over all patches the radii compare. A smaller admission spends them
    on what is learned, as the fit's patches are not kept and its own radius stays: the radii that compare are those
    over the learned patches. Both are measured over all patches too.
    """
    fitted, scale = _fitted(bench)
    fitted = fitted[: (10 if bench.quick else 100) * PATCHES]
    frames = _altered(bench, scale, 4 if bench.quick else 20)
    learned, everything = np.concatenate(frames), np.concatenate([fitted, *frames])
    found: dict[str, tuple[float, float]] = {}
    for admission in (1.0, DEFAULT_ADMISSION):
        first = _begin(fitted, len(fitted) // 50, scale, budget=len(everything), admission=admission)
        state = _learn_all(first, frames)
        assert not state.thinned
        online, offline = _radii(everything, state, everything, scale)
        found[f"radius_admission_{admission:g}"] = online, offline
        on_learned = _radii(learned, state, everything, scale)
        if admission < 1:
            found[f"radius_admission_{admission:g}_learned"] = on_learned
        bench.say(
            f"admission {admission:g}: {len(first.rows)} rows, {len(state.rows)} after {len(frames)} frames; covering "
            f"radius {online:.4f}, offline {offline:.4f}; over the learned {on_learned[0]:.4f}, {on_learned[1]:.4f}"
        )
        budget = len(first.rows) + (len(state.rows) - len(first.rows)) // 4
        thin = _learn_all(replace(first, budget=budget), frames)
        online, offline = _radii(everything, thin, everything, scale)
        proven = float(np.sqrt(thin.sq_proven)) * scale
        bench.say(
            f"  thinned to {len(thin.rows)} of {budget} rows, {len(thin.core)} of them core: {online:.4f}, offline "
            f"{offline:.4f}, proven {proven:.4f}"
        )
        assert online <= proven, "a patch lies outside the radius that is proven"
    return [from_values(name, *values, goal=1 / 1.02, unit="L2", less_is_better=True) for name, values in found.items()]


def _learn_all(state: OnlineCoreset, frames: list[Rows]) -> OnlineCoreset:
    for number, frame in enumerate(frames):
        state, _ = learn(state, f"tapped-{number}", frame)
    return state


def _radii(over: Rows, state: OnlineCoreset, everything: Rows, scale: float) -> tuple[float, float]:
    """Covering radius over some patches: by the state's rows, and by as many that offline greedy chooses of all."""
    offline = greedy_coreset(everything, len(state.rows), seed=workload.SEED).indices
    return _radius(over, state.rows, scale), _radius(over, everything[offline], scale)


def _seconds(state: OnlineCoreset, frame: Rows, nearest: NDArray[np.int64]) -> float:
    begun = time.perf_counter()
    learn(state, "tapped", frame, nearest=nearest)
    return time.perf_counter() - begun


def _history(state: OnlineCoreset) -> OnlineCoreset:
    """The same rows, after so many frames more have been learned that brought nothing new."""
    for number in range(FRAMES_EVER):
        state, delta = learn(state, f"known-{number}", state.rows[:1])
        assert delta.added == 0
    return state


def _begin(
    fitted: Rows, count: int, scale: float, *, budget: int, admission: float = DEFAULT_ADMISSION
) -> OnlineCoreset:
    coreset = greedy_coreset(fitted, count, seed=workload.SEED, scale=scale)
    frame, patch = np.divmod(coreset.indices, PATCHES)
    return begin(
        np.ascontiguousarray(fitted[coreset.indices]),
        frame.astype(np.int32),
        patch.astype(np.int32),
        tuple(f"fitted-{number}" for number in range(len(fitted) // PATCHES)),
        sq_covering=sq_integer(coreset.radius, scale),
        admission=admission,
        budget=budget,
    )


def _radius(vectors: Rows, rows: Rows, scale: float) -> float:
    distances = CentreDistances(np.concatenate([vectors, rows]))
    numbers = np.arange(len(vectors), len(vectors) + len(rows))
    for start in range(0, len(rows), LARGEST_BLOCK):
        distances.add(numbers[start : start + LARGEST_BLOCK])
    return scale * float(np.sqrt(distances.farthest()[1]))


def _fitted(bench: Bench, frames: int = workload.FITTED) -> tuple[Rows, float]:
    weights = efficientnet_lite0("2", "3")
    paths = workload.fitted_paths(bench, PRODUCT, frames)[0]
    bench.say(f"{len(paths)} good images of {PRODUCT}; EfficientNet-Lite0, strides 8 and 16: {weights.stated}")
    patches, scale = stored_patches(bench, weights, paths)
    return np.asarray(patches), scale


def _altered(bench: Bench, scale: float, count: int) -> list[Rows]:
    """Patches of good tiles in other light, int16 (P, D) each."""
    extractor = load_backbone(efficientnet_lite0("2", "3").spec, torch.device("cpu"))
    found = []
    for number, path in enumerate(workload.fitted_paths(bench, PRODUCT)[1][:count]):
        pixels = cv2.imdecode(np.frombuffer(altered(path, number), np.uint8), cv2.IMREAD_COLOR_RGB)
        assert pixels is not None
        image = prepare(np.asarray(pixels, dtype=np.uint8), workload.SIZE_PX)
        found.append(quantise(extractor.embed([image])[0][0].numpy(), scale))
    return found
