"""Frames per second against anomalib, and against nothing but the backbone."""

import time
from collections.abc import Sequence

import numpy as np
import torch

from engine.backbone import load_backbone
from engine.inspection import Image
from engine.inspector import Inspector
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.row import Row, from_times
from tests.bench.timing import Timed, compare, fastest, timed

PRODUCT = "magnetic_tile"
BATCHES = (1, 8, 32)


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

    best, peer = fastest({str(b): anomalib(b) for b in BATCHES if b <= len(frames)}, repeats=1)
    bench.say(
        f"WideResNet-50 layer2 + layer3, weights: {weights.stated}; {workload.SIZE_PX}; bank of {len(bank.rows)} x "
        f"{bank.rows.shape[1]} ({fraction:.0%} of {PRODUCT}), the same rows on both sides; {len(frames)} test frames, "
        f"good and defective, none in the fit\n"
        f"stages on both sides: {workload.STAGES['inspect']}\n"
        f"anomalib {versions['anomalib']} at its best batch of {BATCHES}: {best}, {versions['threads']} threads, "
        f"inference mode; ours: frame by frame, {bench.threads} threads, float32 on both sides"
    )
    ours = inspecting(Inspector({PRODUCT: bank}, device="cpu"), frames, maps="all")
    return from_times(
        figure,
        compare(ours, peer, repeats=bench.repeats, warm_up=True),
        goal=goal,
        unit="frames/s",
        work=len(frames),
    )


def efficiency(bench: Bench) -> list[Row]:
    """The engine at a 10 % bank over the bare backbone: what search, scores and the rest leave of it."""
    weights = workload.wide_resnet50()
    bank = workload.bank_of(bench, weights, 0.1, PRODUCT)
    frames = _frames(bench, 8 if bench.quick else 16)
    network = load_backbone(weights.spec, torch.device("cpu"))
    inputs = [network.normalise(frame[None]) for frame in frames]

    def backbone() -> None:
        for x in inputs:
            network.feature_maps(x)

    bench.say(
        f"WideResNet-50 layer2 + layer3, weights: {weights.stated}; {workload.SIZE_PX}; bank of {len(bank.rows)} x "
        f"{bank.rows.shape[1]}; {len(frames)} test frames of {PRODUCT}, good and defective, none in the fit\n"
        f"bare backbone: the same folded network as the engine's, on normalised pixels, frame by frame, "
        f"{bench.threads} threads, float32\n"
        f"the engine: normalise, backbone, aggregation and alignment, exact search of every patch, Eq. 6-7 with "
        f"{bank.recipe.neighbours} neighbours, verdict, maps of rejects"
    )
    ours = inspecting(Inspector({PRODUCT: bank}, device="cpu"), frames, maps="rejects")
    compared = compare(ours, timed(backbone), repeats=bench.repeats)
    return [from_times("efficiency", compared, goal=0.85, unit="frames/s", work=len(frames))]


def inspecting(inspector: Inspector, frames: Sequence[Image], *, maps: str) -> Timed:
    """Seconds to inspect all frames, frame by frame as they would come from one camera."""

    def run() -> float:
        start = time.perf_counter()
        for frame in frames:
            inspector.inspect([(PRODUCT, frame)], maps="all" if maps == "all" else "rejects")
        return time.perf_counter() - start

    return run


def _frames(bench: Bench, count: int) -> list[Image]:
    paths, _ = workload.held_out(bench, PRODUCT, count)
    order = np.random.default_rng(workload.SEED).permutation(len(paths))
    return [workload.read(paths[i]) for i in order]
