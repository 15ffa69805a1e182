"""Image and pixel AUROC against anomalib: same images, weights, sizes and bank fraction, each side's own coreset.

Which rows are kept moves the AUROC more than anything else that the two do differently: by .008 (standard deviation) on
magnetic tile. So the means of both sides over many seeds are compared, with the interval that chance leaves. With our
rows given to anomalib what is left is the rest: how float32 rounds distances, and maps that it enlarges by repeating
patches before the Gaussian, where ours are interpolated.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.evaluation.metrics import image_auroc
from patchline.engine.evaluation.pixel_metrics import PixelTally
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.types import Image
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.row import Row, from_averages

FRACTION = 0.01
IMAGES = 100
"""Good images that both sides fit to: anomalib's time for a coreset grows with their square, and seeds tell more."""
SEEDS = {"magnetic_tile": 8, "mvtec_bottle": 1}
"""Coresets of each side for each repeat."""
ALIKE = 5
"""Seeds of ours whose rows anomalib is given too."""


def accuracy(bench: Bench) -> list[Row]:
    """AUROC of both sides, the mean over seeds of the coreset."""
    rows: list[Row] = []
    weights = workload.efficientnet_lite0()
    for product, each in SEEDS.items():
        paths, defective = workload.held_out(bench, product, 24 if bench.quick else None)
        frames = [workload.read(path) for path in paths]
        seeds = range(1 if bench.quick else each * bench.repeats)
        bench.say(
            f"{product}: EfficientNet-Lite0, strides 8 and 16, weights: {weights.stated}; {workload.SIZE_PX}; bank of "
            f"{FRACTION:.0%}, fitted by each side to the same {len(_fitted(bench, product))} good "
            f"frames with its own coreset; {len(frames)} test frames, {int(defective.sum())} of them defective; "
            f"mean over {len(seeds)} seeds of the coreset of each side; [95 % interval of the ratio]"
        )
        banks = [workload.bank_of(bench, weights, FRACTION, product, seed=seed, images=IMAGES) for seed in seeds]
        ours = [_ours(product, bank, frames, paths, defective) for bank in banks]
        alike = [_theirs(bench, weights, bank, frames, paths, defective) for bank in banks[:ALIKE]]
        peer_banks = [_peer_bank(bench, weights, product, seed) for seed in seeds]
        theirs = [_theirs(bench, weights, bank, frames, paths, defective) for bank in peer_banks]
        for what in sorted(ours[0]):
            for side, found in (("ours", ours), ("anomalib on our rows", alike), ("anomalib", theirs)):
                bench.say(f"  {what}, {side}: " + ", ".join(f"{values[what]:.4f}" for values in found))
            values = ([found[what] for found in side] for side in (ours, theirs))
            name, peer_loaded = f"accuracy_{what}_{product}", bench.peer.loaded()
            rows.append(from_averages(name, *values, goal=1.0, unit="AUROC", peer_loaded=peer_loaded))
    return rows


def _ours(
    product: str, bank: MemoryBank, frames: Sequence[Image], paths: Sequence[Path], defective: NDArray[np.bool_]
) -> dict[str, float]:
    inspector = Inspector({product: bank}, device="cpu")
    found = inspector.inspect([(product, frame) for frame in frames], maps="all")
    maps = [inspection.anomaly_map for inspection in found if inspection.anomaly_map is not None]
    return _figures(np.array([inspection.score for inspection in found]), maps, paths, defective)


def _theirs(
    bench: Bench,
    weights: workload.Weights,
    bank: MemoryBank | Path,
    frames: Sequence[Image],
    paths: Sequence[Path],
    defective: NDArray[np.bool_],
) -> dict[str, float]:
    workload.give_model(bench, bench.peer, weights, bank)
    workload.give_frames(bench, bench.peer, frames)
    scores, maps = bench.build / "peer-scores.npy", bench.build / "peer-maps.npy"
    bench.peer.ask("predict", batch=8, scores=scores, maps=maps)
    return _figures(np.load(scores).astype(np.float64), np.load(maps, mmap_mode="r"), paths, defective)


def _fitted(bench: Bench, product: str) -> list[Path]:
    return workload.fitted_paths(bench, product)[0][:IMAGES]


def _peer_bank(bench: Bench, weights: workload.Weights, product: str, seed: int) -> Path:
    """The rows that anomalib keeps of the product's good images, as a .npy file; made once and kept."""
    version = bench.peer.ask("version")["anomalib"]
    fitted = _fitted(bench, product)
    of = f"{product}-{len(fitted)}-{weights.timm_name}-{weights.spec.weights_sha256[:12]}"
    path = bench.build / "banks" / f"anomalib-{version}-{of}-{FRACTION:g}-{seed}.npy"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        workload.give_model(bench, bench.peer, weights)
        workload.give_frames(bench, bench.peer, [workload.read(path) for path in fitted])
        said = bench.peer.ask("fit", batch=32, fraction=FRACTION, seed=seed, bank=path)
        bench.say(f"  anomalib, seed {seed}, once: {said['rows']} rows, coreset {said['coreset_s']:.1f} s")
    return path


def _figures(
    scores: NDArray[np.float64],
    maps: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    paths: Sequence[Path],
    defective: NDArray[np.bool_],
) -> dict[str, float]:
    figures = {"image_auroc": image_auroc(scores, defective)}
    masks = [workload.mask_of(path) for path in paths]
    if any(mask is not None for mask in masks):
        tally = PixelTally()
        for path, anomaly_map, mask in zip(paths, maps, masks, strict=True):
            tally.add(path.parent.name, np.asarray(anomaly_map), mask)
        figures["pixel_auroc"] = tally.auroc().value
    return figures
