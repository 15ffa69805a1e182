"""How long each stage of an inspection takes, and how near that comes to what the machine can do (`benchmark.floor`).

The search's arithmetic is counted as brute force, one product of all patches with all rows: a search that rules rows
out by bounds can lie below that floor.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.benchmark.device_stages import DeviceStages
from patchline.engine.benchmark.floor import FLOAT32_BYTES, Floor
from patchline.engine.benchmark.frame_stages import FrameStages, Laps
from patchline.engine.benchmark.ways import backbone_way, search_way
from patchline.engine.features.extractor import Runtime, count_flop, load_backbone
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.inspection.anomaly_map import axis_operator
from patchline.engine.inspection.batch_judge import BatchJudge
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.inspection.judge import Judge
from patchline.engine.numerics.device import Precision, resolve_device
from patchline.engine.recipe import Backbone
from patchline.engine.search.factory import SearchKind, make_search
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.types import Image

BenchmarkProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with `measure`, how many frames are done and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a frame: the median of its seconds and their quartiles, its arithmetic in flop, its floor."""

    name: str
    seconds: float
    quartiles: tuple[float, float]
    flop: float
    floor_s: float

    @property
    def over_floor(self) -> float:
        """How many times the floor the stage takes."""
        return self.seconds / self.floor_s if self.floor_s > 0 else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeBenchmark:
    """The benchmark of one bank.

    `stages` are in order, the last of them `end to end`: times of one frame, on a GPU those of one frame in a batch of
    `together`. `search` is the kind that ran, `search_way` what ran in it, `backbone_way` what ran the backbone.
    `one_s` is the time of a frame that is inspected alone, `batch_s` that of one frame in a batch of all `frames`, in
    seconds.
    """

    recipe: str
    backbone: str
    image_size_px: tuple[int, int]
    patches: int
    rows: int
    dimensions: int
    search: str
    search_way: str
    backbone_way: str
    frames: int
    together: int
    stages: tuple[Stage, ...]
    one_s: float
    batch_s: float

    @property
    def frames_per_s(self) -> float:
        """Frames inspected in a second, end to end, one by one."""
        return 1.0 / self.one_s

    @property
    def batch_frames_per_s(self) -> float:
        """The same where all frames are inspected as one batch, as the service does under load."""
        return 1.0 / self.batch_s


def benchmark(
    bank: MemoryBank,
    images: Sequence[Image],
    floor: Floor,
    *,
    device: str = "auto",
    search: SearchKind = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    repeats: int = 3,
    progress: BenchmarkProgress | None = None,
) -> RecipeBenchmark:
    """Time every stage of inspecting images, and the whole inspection of each frame alone and of all as one batch.

    Args:
        bank: what judges them.
        images: prepared ones, at least one. On a GPU their stages are timed together, on a CPU one by one.
        floor: of this machine, by `measure_floor`.
        device: as the inspector takes it.
        search: as the inspector takes it.
        runtime: as the inspector takes it.
        precision: as the inspector takes it.
        repeats: how often everything is timed, after one round that does not count.
        progress: is told how many frames are done.

    Raises:
        RecipeError, WeightsError, DeviceError: as the inspector raises them.
    """
    recipe = bank.recipe
    on = resolve_device(device)
    batched = on.type != "cpu"
    extractor = load_backbone(recipe.backbone, on, runtime, precision)
    inspector = Inspector({recipe.name: bank}, device=device, search=search, runtime=runtime, precision=precision)
    inspector.warm_up()
    index = make_search(search, bank.values(), str(on))
    stages: DeviceStages | FrameStages
    if batched:
        stages = DeviceStages(bank, extractor, BatchJudge.on(on, Judge(recipe.name, bank, index)))
    else:
        stages = FrameStages(bank, extractor, index)
    tiled = TiledExtractor(recipe, extractor)
    together = len(images) if batched and recipe.tiling is None else 1

    seconds: dict[str, list[float]] = {}
    warm_up = 1
    for round_ in range(warm_up + repeats):
        if round_ == warm_up:
            seconds.clear()
        for spent in stages.time(images):
            for name, value in spent.items():
                seconds.setdefault(name, []).append(value / together)
        for position, image in enumerate(images):
            laps = Laps(on)
            inspector.inspect([(recipe.name, image)], maps="rejects")
            seconds.setdefault("one by one", []).append(laps.end("one by one"))
            if progress is not None:
                progress("measure", round_ * len(images) + position + 1, (warm_up + repeats) * len(images))
        laps = Laps(on)
        inspector.inspect([(recipe.name, image) for image in images], maps="rejects")
        seconds.setdefault("batch", []).append(laps.end("batch") / len(images))

    H, W = recipe.image_size_px
    P, (M, D) = bank.grid[0] * bank.grid[1], bank.rows.shape
    value_bytes = extractor.dtype.itemsize
    flop = float(count_flop(recipe.backbone, tiled.pass_size_px)) * tiled.tiles
    feature_values = 0
    if "embed" in seconds:
        feature_values = sum(m.numel() for m in extractor.feature_maps(extractor.normalise(images[0][None])))
    work = {  # arithmetic and bytes moved at the least
        "upload": (0.0, H * W * 3),
        "tiles": (flop, P * D * value_bytes + extractor.weight_bytes),
        "normalise": (2.0 * H * W * 3, H * W * 3 * (1 + value_bytes)),
        "backbone": (flop, extractor.weight_bytes / together),
        "embed": (9.0 * feature_values, feature_values * value_bytes + P * D * FLOAT32_BYTES),
        "search": (2.0 * P * M * D, (M * D / together + P * D) * FLOAT32_BYTES),
        "score": (3.0 * recipe.neighbours * D, recipe.neighbours * D * FLOAT32_BYTES),
        "map": (2.0 * (H * bank.grid[0] * bank.grid[1] + H * W * bank.grid[1]), H * W * FLOAT32_BYTES),
    }
    work = {name: least for name, least in work.items() if name in seconds}
    stages_timed = [_stage(name, seconds[name], *work[name], floor) for name in work]
    # End to end includes maps of rejects only; its floor leaves them out.
    whole_s = seconds["batch" if together > 1 else "one by one"]
    whole = _stage("end to end", whole_s, sum(stage.flop for stage in stages_timed), 0.0, floor)
    floor_s = sum(stage.floor_s for stage in stages_timed if stage.name != "map")
    stages_timed.append(replace(whole, floor_s=floor_s))
    return RecipeBenchmark(
        recipe=recipe.name,
        backbone=_described(recipe.backbone),
        image_size_px=recipe.image_size_px,
        patches=P,
        rows=M,
        dimensions=D,
        search=_kind(index),
        search_way=search_way(index),
        backbone_way=backbone_way(extractor),
        frames=len(images),
        together=together,
        stages=tuple(stages_timed),
        one_s=statistics.median(seconds["one by one"]),
        batch_s=statistics.median(seconds["batch"]),
    )


def synthetic_images(size_px: tuple[int, int], count: int, seed: int = 0) -> list[Image]:
    """Textured images without meaning, RGB uint8 (H, W, 3), for where no real ones are at hand."""
    rng = np.random.default_rng(seed)
    smooth = axis_operator(size_px[0] // 8, size_px[0], 2.0), axis_operator(size_px[1] // 8, size_px[1], 2.0)
    images = []
    for _ in range(count):
        coarse = rng.normal(size=(3, size_px[0] // 8, size_px[1] // 8))
        texture = np.einsum("hi,cij,wj->hwc", smooth[0], coarse, smooth[1])
        images.append(np.clip(128 + 60 * texture + rng.normal(scale=4, size=texture.shape), 0, 255).astype(np.uint8))
    return images


def _described(spec: Backbone) -> str:
    """The backbone, its stages, and its precision where that is not float32: the floor is of the device's."""
    stages = "+".join(spec.stages)
    return f"{spec.name} {stages}" if spec.precision == "float32" else f"{spec.name} {stages} in {spec.precision}"


def _kind(index: NearestNeighbours) -> str:
    """The kind by which such a search is asked for."""
    kinds = {"FaissSearch": "faiss", "TorchSearch": "torch", "PrunedSearch": "pruned", "DeviceSearch": "pruned"}
    return kinds[type(index).__name__]


def _stage(name: str, seconds: Sequence[float], flop: float, bytes_moved: float, floor: Floor) -> Stage:
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else (seconds[0],) * 3
    return Stage(
        name=name,
        seconds=statistics.median(seconds),
        quartiles=(low, high),
        flop=flop,
        floor_s=floor.seconds(flop, bytes_moved),
    )
