"""Frames per second against anomalib and its export, and against nothing but the backbone and the floor under it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.benchmark.floor import floor_products
from patchline.engine.benchmark.ways import backbone_way
from patchline.engine.features.extractor import FeatureExtractor, count_flop, load_backbone
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.inspection.judge import Maps
from patchline.engine.numerics.core_pool import spread_runs
from patchline.engine.types import Image
from tests.bench import workload
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.peer import Peer
from tests.bench.row import Row, from_times
from tests.bench.timing import Timed, compare, fastest, timed

PRODUCT = "magnetic_tile"
BATCHES = (1, 8, 32)
OPENVINO_BATCHES = (1, 4, 8)
BATCH = 8
ALIKE = 0.02
"""Scores of both sides differ by less than this share: rounding, and another row where two are as near."""


def throughput(bench: Bench) -> list[Row]:
    """Frames/s with a 1 % bank."""
    return [_against_anomalib(bench, "throughput", fraction=0.01, goal=bench.goal(vnni=1.7, avx2=1.7))]


def throughput10(bench: Bench) -> list[Row]:
    """Frames/s with a 10 % bank."""
    return [_against_anomalib(bench, "throughput10", fraction=0.1, goal=bench.goal(vnni=4.2, avx2=3.5))]


def throughput10_openvino(bench: Bench) -> list[Row]:
    """Frames/s with a 10 % bank, against anomalib's own export to OpenVINO, which its Studio runs, in float32."""
    weights = workload.wide_resnet50()
    bank = workload.bank_of(bench, weights, 0.1, PRODUCT)
    frames = _frames(bench, 8 if bench.quick else 32)
    with bench.new_peer() as peer:
        workload.give_model(bench, peer, weights, bank)
        workload.give_frames(bench, peer, frames)
        inspector = Inspector({PRODUCT: bank}, device="cpu")
        exported = _Exported(peer, bench.build / "openvino", bench.threads)
        tried = {way: exported.frames_per_s(way) for way in exported.ways(len(frames))}
        best = max(tried, key=lambda way: tried[way])
        kernels = exported.take(best)
        scores = bench.build / "openvino-scores.npy"
        peer.ask("predict_openvino", scores=scores)
        our_best, ours = _our_best(inspector, frames)
        compared = compare(ours, exported.seconds, repeats=bench.repeats, warm_up=False)
        peer_loaded = peer.loaded()
    found = inspector.inspect([(PRODUCT, frame) for frame in frames], maps="none")
    apart = np.abs(np.load(scores) / np.array([inspection.score for inspection in found]) - 1).max()
    if not apart < ALIKE:
        raise FigureUnavailableError(f"scores of the export differ by up to {apart:.1e} of ours")
    bench.say(
        f"{_stated(weights, bank, len(frames), 0.1)}\n"
        f"on both sides the same rows; stages: {workload.STAGES['inspect']}; float32 (INFERENCE_PRECISION_HINT=f32)\n"
        f"scores differ by at most {apart:.1e} of theirs\n"
        f"anomalib's export at its best: {best}, of "
        + ", ".join(f"{way} {rate:.2f} frames/s" for way, rate in tried.items())
        + f"; its kernels: {', '.join(kernels)}\nours in batches of {our_best}"
    )
    goal = bench.goal(vnni=2.5, avx2=2.5)
    return [
        from_times(
            "throughput10_openvino",
            compared,
            goal=goal,
            unit="frames/s",
            work=len(frames),
            peer_loaded=peer_loaded,
        )
    ]


@dataclass(frozen=True)
class _Way:
    """How OpenVINO is asked: frames in a request, and streams, each with its share of the threads."""

    batch: int
    streams: int

    def __str__(self) -> str:
        return f"batches of {self.batch} in {self.streams} stream{'s' if self.streams > 1 else ''}"


class _Exported:
    """Exports in a process with OpenVINO, one for each size of batch."""

    def __init__(self, peer: Peer, folder: Path, threads: int) -> None:
        self._peer, self._folder, self._threads = peer, folder, threads
        self._models: dict[int, str] = {}

    def ways(self, frames: int) -> list[_Way]:
        """What may be tried: batches that all frames fill, one stream, and one for each thread."""
        batches = [batch for batch in OPENVINO_BATCHES if frames % batch == 0]
        return [_Way(batch, streams) for batch in batches for streams in sorted({1, self._threads})]

    def take(self, way: _Way) -> list[str]:
        """Compile it for a way; return the kinds of kernels that OpenVINO chose."""
        if way.batch not in self._models:
            reply = self._peer.ask("export_openvino", batch=way.batch, folder=self._folder)
            self._models[way.batch] = reply["model"]
        asked = {"batch": way.batch, "streams": way.streams, "threads": self._threads}
        reply = self._peer.ask("compile_openvino", model=self._models[way.batch], **asked)
        kernels: list[str] = reply["kernels"]
        return kernels

    def seconds(self) -> float:
        """To inspect all frames."""
        return float(self._peer.ask("time_openvino")["seconds"])

    def frames_per_s(self, way: _Way) -> float:
        """By a way, warm."""
        self.take(way)
        self._peer.ask("time_openvino")
        reply = self._peer.ask("time_openvino")
        return float(reply["frames"] / reply["seconds"])


def _against_anomalib(bench: Bench, figure: str, *, fraction: float, goal: float | None) -> Row:
    weights = workload.wide_resnet50()
    bank = workload.bank_of(bench, weights, fraction, PRODUCT)
    frames = _frames(bench, 8 if bench.quick else 32)
    version = bench.peer.ask("version")["anomalib"]
    workload.give_model(bench, bench.peer, weights, bank)
    workload.give_frames(bench, bench.peer, frames)

    def anomalib(batch: int) -> Timed:
        return lambda: float(bench.peer.ask("time_inspect", batch=batch)["seconds"])

    batches = [batch for batch in BATCHES if batch <= len(frames)]
    anomalib(batches[-1])()  # once is warm enough: what follows takes minutes
    best, peer = fastest({str(batch): anomalib(batch) for batch in batches}, repeats=1, warm_up=False)
    our_best, ours = _our_best(Inspector({PRODUCT: bank}, device="cpu"), frames)
    bench.say(
        f"{_stated(weights, bank, len(frames), fraction)}\n"
        f"on both sides the same rows; stages: {workload.STAGES['inspect']}; float32\n"
        f"{bench.threads} threads, each at its best batch of {BATCHES}: "
        f"anomalib {version} (inference mode) {best}, ours {our_best}"
    )
    compared = compare(ours, peer, repeats=bench.repeats, warm_up=False)
    peer_loaded = bench.peer.loaded()
    return from_times(figure, compared, goal=goal, unit="frames/s", work=len(frames), peer_loaded=peer_loaded)


def _our_best(inspector: Inspector, frames: Sequence[Image]) -> tuple[str, Timed]:
    """Our best batch, and how to time it."""
    batches = [batch for batch in BATCHES if batch <= len(frames)]
    inspecting(inspector, frames, batches[-1], maps="all")()
    candidates = {str(batch): inspecting(inspector, frames, batch, maps="all") for batch in batches}
    return fastest(candidates, repeats=1, warm_up=False)


def efficiency(bench: Bench) -> list[Row]:
    """The engine at a 10 % bank over the bare backbone: what search, scores and the rest leave of it."""
    weights = workload.wide_resnet50()
    bank = workload.bank_of(bench, weights, 0.1, PRODUCT)
    frames = _frames(bench, 8 if bench.quick else 16)
    extractor = load_backbone(weights.spec, torch.device("cpu"))
    bench.say(
        f"{_stated(weights, bank, len(frames), 0.1)}, in batches of {BATCH}\n"
        f"bare backbone: the engine's own network on normalised pixels, frames on each of {bench.threads} cores, "
        f"up to four together, float32; the engine: the same, with normalisation, aggregation and alignment, exact "
        f"search of every patch, Eq. 6-7 with {bank.recipe.neighbours} neighbours, verdicts, maps of rejects"
    )
    ours = inspecting(Inspector({PRODUCT: bank}, device="cpu"), frames, BATCH, maps="rejects")
    compared = compare(ours, _bare(extractor, frames), repeats=bench.repeats)
    goal = bench.goal(vnni=0.80, avx2=0.80)
    return [from_times("efficiency", compared, goal=goal, unit="frames/s", work=len(frames))]


def backbone(bench: Bench) -> list[Row]:
    """The bare backbone's arithmetic in a second over that of large matrix products, by the quicker library."""
    weights = workload.wide_resnet50()
    frames = _frames(bench, 8 if bench.quick else 16)
    extractor = load_backbone(weights.spec, torch.device("cpu"))
    flop = float(count_flop(weights.spec, workload.SIZE_PX)) * len(frames)
    product_flop, products = floor_products(torch.device("cpu"), torch.float32)
    often = max(1, round(flop / product_flop))

    def multiplying(product: Callable[[], object]) -> Timed:
        """Seconds of so many products that they are the backbone's arithmetic."""
        seconds = timed(lambda: [product() for _ in range(often)])
        return lambda: seconds() * flop / (often * product_flop)

    name, floor = fastest({library: multiplying(product) for library, product in products.items()})
    compared = compare(_bare(extractor, frames), floor, repeats=bench.repeats)
    bench.say(
        f"WideResNet-50 layer2 + layer3, weights: {weights.stated}; {workload.SIZE_PX}, {len(frames)} frames of "
        f"{flop / len(frames) / 1e9:.1f} GFLOP in batches of {BATCH}, {backbone_way(extractor)}: "
        f"{len(frames) / compared.ours_s:.1f} frames/s\n"
        f"the floor: float32 products of 2,048 x 2,048, all {bench.threads} threads, by {name}; arithmetic that an "
        f"algorithm saves (Winograd's) counts as done, so the ratio can be above 1"
    )
    goal = bench.goal(vnni=1.0, avx2=1.0)
    return [from_times("backbone", compared, goal=goal, unit="GFLOP/s", work=flop / 1e9)]


def _bare(extractor: FeatureExtractor, frames: Sequence[Image]) -> Timed:
    """Seconds of the bare backbone for all frames, as the engine runs it in batches."""
    inputs = [extractor.normalise(frame[None]) for frame in frames]

    def run() -> None:
        for start in range(0, len(inputs), BATCH):
            batch = inputs[start : start + BATCH]
            alike = partial(extractor.bits_alike, workload.SIZE_PX)
            spread_runs(extractor.feature_maps_of, batch, alike, [0] * len(batch))

    return timed(run)


def _stated(weights: workload.Weights, bank: MemoryBank, frames: int, fraction: float) -> str:
    return (
        f"WideResNet-50 layer2 + layer3, weights: {weights.stated}; {workload.SIZE_PX}; bank of {len(bank.rows)} x "
        f"{bank.rows.shape[1]} ({fraction:.0%} of {PRODUCT}); {frames} test frames, good and defective, none in "
        f"the fit"
    )


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
