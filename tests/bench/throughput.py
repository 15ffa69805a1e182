"""Frames per second against anomalib, and against nothing but the backbone."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from patchline.engine.features.extractor import load_backbone
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.inspection.judge import Maps
from patchline.engine.numerics.core_pool import spread_runs
from patchline.engine.types import Image
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.row import Row, from_times
from tests.bench.timing import Timed, compare, fastest, timed

PRODUCT = "magnetic_tile"
BATCHES = (1, 8, 32)
BATCH = 8


def throughput(bench: Bench) -> list[Row]:
    """Frames/s with a 1 % bank."""
    return [_against_anomalib(bench, "throughput", fraction=0.01, goal=1.7)]


def throughput10(bench: Bench) -> list[Row]:
    """Frames/s with a 10 % bank."""
    return [_against_anomalib(bench, "throughput10", fraction=0.1, goal=5.0)]


def _against_anomalib(bench: Bench, figure: str, *, fraction: float, goal: float) -> Row:
    weights = workload.wide_resnet50()
    bank = workload.bank_of(bench, weights, fraction, PRODUCT)
    frames = _frames(bench, 8 if bench.quick else 32)
    versions = bench.peer.ask("hello")
    workload.give_model(bench, bench.peer, weights, bank)
    workload.give_frames(bench, bench.peer, frames)

    def anomalib(batch: int) -> Timed:
        return lambda: float(bench.peer.ask("time_inspect", batch=batch)["seconds"])

    def patchline(batch: int) -> Timed:
        return inspecting(inspector, frames, batch, maps="all")

    inspector = Inspector({PRODUCT: bank}, device="cpu")
    batches = [batch for batch in BATCHES if batch <= len(frames)]
    for side in (anomalib, patchline):
        side(batches[-1])()  # once is warm enough: what follows takes minutes
    best, peer = fastest({str(batch): anomalib(batch) for batch in batches}, repeats=1, warm_up=False)
    our_best, ours = fastest({str(batch): patchline(batch) for batch in batches}, repeats=1, warm_up=False)
    bench.say(
        f"WideResNet-50 layer2 + layer3, weights: {weights.stated}; {workload.SIZE_PX}; bank of {len(bank.rows)} x "
        f"{bank.rows.shape[1]} ({fraction:.0%} of {PRODUCT}), the same rows on both sides; {len(frames)} test frames, "
        f"good and defective, none in the fit\n"
        f"stages on both sides: {workload.STAGES['inspect']}; float32\n"
        f"{versions['threads']} threads, each at its best batch of {BATCHES}: "
        f"anomalib {versions['anomalib']} (inference mode) {best}, ours {our_best}"
    )
    compared = compare(ours, peer, repeats=bench.repeats, warm_up=False)
    return from_times(figure, compared, goal=goal, unit="frames/s", work=len(frames))


def efficiency(bench: Bench) -> list[Row]:
    """The engine at a 10 % bank over the bare backbone: what search, scores and the rest leave of it."""
    weights = workload.wide_resnet50()
    bank = workload.bank_of(bench, weights, 0.1, PRODUCT)
    frames = _frames(bench, 8 if bench.quick else 16)
    extractor = load_backbone(weights.spec, torch.device("cpu"))
    inputs = [extractor.normalise(frame[None]) for frame in frames]

    def backbone() -> None:
        for start in range(0, len(inputs), BATCH):
            batch = inputs[start : start + BATCH]
            alike = partial(extractor.bits_alike, workload.SIZE_PX)
            spread_runs(extractor.feature_maps_of, batch, alike, [0] * len(batch))

    bench.say(
        f"WideResNet-50 layer2 + layer3, weights: {weights.stated}; {workload.SIZE_PX}; bank of {len(bank.rows)} x "
        f"{bank.rows.shape[1]}; {len(frames)} test frames of {PRODUCT}, good and defective, none in the fit, "
        f"in batches of {BATCH}\n"
        f"bare backbone: the engine's own network on normalised pixels, frames on each of {bench.threads} cores, "
        f"up to four together, float32; the engine: the same, with normalisation, aggregation and alignment, exact "
        f"search of every patch, Eq. 6-7 with {bank.recipe.neighbours} neighbours, verdicts, maps of rejects"
    )
    ours = inspecting(Inspector({PRODUCT: bank}, device="cpu"), frames, BATCH, maps="rejects")
    compared = compare(ours, timed(backbone), repeats=bench.repeats)
    return [from_times("efficiency", compared, goal=0.85, unit="frames/s", work=len(frames))]


def inspecting(inspector: Inspector, frames: Sequence[Image], batch: int, *, maps: Maps) -> Timed:
    """Seconds to inspect all frames in batches."""
    asked = [(PRODUCT, frame) for frame in frames]

    def run() -> None:
        for start in range(0, len(asked), batch):
            inspector.inspect(asked[start : start + batch], maps=maps)

    return timed(run)


def _frames(bench: Bench, count: int) -> list[Image]:
    paths, _ = workload.held_out(bench, PRODUCT, count)
    order = np.random.default_rng(workload.SEED).permutation(len(paths))
    return [workload.read(paths[i]) for i in order]
