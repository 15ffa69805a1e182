"""What this machine can do, and how near to it each stage of an inspection comes.

The floor of a stage is the time that its arithmetic would take at the measured rate of matrix products, or its memory
traffic at the measured bandwidth, whichever is longer. The search's arithmetic is counted as brute force, one product
of all patches with all rows: a search that rules rows out by bounds can lie below that floor.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine import patches
from engine.anomaly_map import anomaly_map, axis_operator
from engine.backbone import Runtime, count_flop, load_backbone
from engine.device import Precision, backbone_dtype, full_float32, resolve_device
from engine.illumination import level
from engine.inspection import Image
from engine.inspector import Inspector
from engine.judge import score_bands, score_of
from engine.memory_bank import MemoryBank
from engine.scoring import Scorer
from engine.search import NearestNeighbours, SearchKind, make_search
from engine.tiling import TiledExtractor

FLOAT32_BYTES = 4
Progress = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What the machine reaches: `flop_per_s` in matrix products of `precision`, `bytes_per_s` in copying memory."""

    device: str
    threads: int
    precision: str
    flop_per_s: float
    bytes_per_s: float

    def seconds(self, flop: float, bytes_moved: float) -> float:
        """The least time for so much arithmetic and memory traffic, overlapped."""
        return max(flop / self.flop_per_s, bytes_moved / self.bytes_per_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage's time a frame: median and quartiles in seconds, its arithmetic, its floor, and time over floor."""

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
    """One bank: its stages in order, the last of them `end to end`, which search ran, seconds a frame in a batch."""

    recipe: str
    backbone: str
    image_size_px: tuple[int, int]
    patches: int
    rows: int
    dimensions: int
    search: str
    frames: int
    stages: tuple[Stage, ...]
    batch_s: float

    @property
    def frames_per_s(self) -> float:
        """Frames inspected in a second, end to end, one by one."""
        return 1.0 / self.stages[-1].seconds

    @property
    def batch_frames_per_s(self) -> float:
        """The same where all frames are inspected as one batch, as the service does under load."""
        return 1.0 / self.batch_s


def measure_floor(device: str = "auto", *, precision: Precision = "auto", repeats: int = 5) -> Floor:
    """Measure the rate of matrix products and the bandwidth of memory: the best of some repeats.

    Raises:
        DeviceError: this machine has no such device.
    """
    on = resolve_device(device)
    dtype = backbone_dtype(on, precision)
    size = 2048 if on.type == "cpu" else 8192
    a, b = torch.randn((2, size, size), device=on, dtype=torch.float32).to(dtype)
    source = torch.zeros(64 * 2**20, device=on)  # far larger than any cache
    target = torch.empty_like(source)
    with full_float32(on):
        products_s = min(_times(lambda: a @ b, on, repeats))
    return Floor(
        device=torch.cuda.get_device_name(on) if on.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        precision=str(dtype).removeprefix("torch."),
        flop_per_s=2 * size**3 / products_s,
        bytes_per_s=2 * FLOAT32_BYTES * len(source) / min(_times(lambda: target.copy_(source), on, repeats)),
    )


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
    progress: Progress | None = None,
) -> RecipeBenchmark:
    """Time every stage of inspecting `images`, prepared by `prepare`, one frame at a time, and all of them as a batch.

    `progress` is called with `measure` and frames done. Raises RecipeError, WeightsError and DeviceError as the
    inspector does.
    """
    recipe = bank.recipe
    on = resolve_device(device)
    extractor = load_backbone(recipe.backbone, on, runtime, precision)
    tiled = TiledExtractor(recipe, extractor)
    inspector = Inspector({recipe.name: bank}, device=device, search=search, runtime=runtime, precision=precision)
    inspector.warm_up()
    rows = bank.values()
    index = make_search(search, rows, str(on))
    scorer = Scorer(rows, index, recipe.neighbours, recipe.score_patches)
    grid, channels = bank.grid, 0

    def embedded(image: Image, laps: _Laps) -> Iterator[Tensor]:
        """The patch embeddings of an image in bands, (n, D) each."""
        nonlocal channels
        if recipe.tiling is not None:
            yield from tiled.bands(image)
            return
        x = extractor.normalise((level(image) if recipe.levelling else image)[None])
        laps.end("normalise")
        feature_maps = extractor.feature_maps(x)
        laps.end("backbone")
        channels = sum(m.numel() for m in feature_maps)
        with torch.inference_mode():
            embeddings = patches.embed(feature_maps, recipe.image_size_px, tiled.options)[0][0]
        yield embeddings

    def searched(image: Image, laps: _Laps) -> Iterator[NDArray[np.float32]]:
        for band in embedded(image, laps):
            values = band.float().cpu().numpy()
            laps.end("embed" if recipe.tiling is None else "tiles")
            yield values
            laps.end("search")

    seconds: dict[str, list[float]] = {}
    warm_up = 1
    for turn in range(warm_up + repeats):
        if turn == warm_up:
            seconds.clear()
        for position, image in enumerate(images):
            bands = (band.float().cpu().numpy() for band in tiled.bands(image))
            _, distances = score_bands(index, scorer, bands)  # for the map
            laps = _Laps(on)
            score_of(index, scorer, searched(image, laps))
            laps.end("score")
            anomaly_map(distances.reshape(grid), recipe.image_size_px, recipe.smoothing_sigma)
            laps.end("map")
            inspector.inspect([(recipe.name, image)], maps="rejects")
            laps.end("end to end")
            for stage, spent in laps.seconds.items():
                seconds.setdefault(stage, []).append(spent)
            if progress is not None:
                progress("measure", turn * len(images) + position + 1, (warm_up + repeats) * len(images))
        laps = _Laps(on)
        inspector.inspect([(recipe.name, image) for image in images], maps="rejects")
        laps.end("batch")
        seconds.setdefault("batch", []).append(laps.seconds["batch"] / len(images))

    H, W = recipe.image_size_px
    P, (M, D) = grid[0] * grid[1], rows.shape
    value_bytes = extractor.dtype.itemsize
    flop = float(count_flop(recipe.backbone, tiled.pass_size_px)) * tiled.tiles
    work = {  # arithmetic and bytes moved at the least
        "tiles": (flop, P * D * value_bytes + extractor.weight_bytes),
        "normalise": (2.0 * H * W * 3, H * W * 3 * (1 + value_bytes)),
        "backbone": (flop, extractor.weight_bytes),
        "embed": (9.0 * channels, channels * value_bytes + P * D * FLOAT32_BYTES),
        "search": (2.0 * P * M * D, (M * D + P * D) * FLOAT32_BYTES),
        "score": (3.0 * recipe.neighbours * D, recipe.neighbours * D * FLOAT32_BYTES),
        "map": (2.0 * (H * grid[0] * grid[1] + H * W * grid[1]), H * W * FLOAT32_BYTES),
    }
    work = {name: least for name, least in work.items() if name in seconds}
    stages = [_stage(name, seconds[name], *work[name], floor) for name in work]
    # End to end includes maps of rejects only; its floor leaves them out.
    least = sum(stage.floor_s for stage in stages if stage.name != "map")
    total = _stage("end to end", seconds["end to end"], sum(arithmetic for arithmetic, _ in work.values()), 0.0, floor)
    stages.append(
        Stage(name=total.name, seconds=total.seconds, quartiles=total.quartiles, flop=total.flop, floor_s=least)
    )
    return RecipeBenchmark(
        recipe=recipe.name,
        backbone=f"{recipe.backbone.name} {'+'.join(recipe.backbone.stages)}",
        image_size_px=recipe.image_size_px,
        patches=P,
        rows=M,
        dimensions=D,
        search=_kind(index),
        frames=len(images),
        stages=tuple(stages),
        batch_s=statistics.median(seconds["batch"]),
    )


class _Laps:
    """Seconds of one frame by stage; the device has finished at the end of each."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def end(self, stage: str) -> None:
        """What has passed since the last end belongs to `stage`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


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


def _kind(index: NearestNeighbours) -> str:
    """The name by which a search is asked for."""
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


def _times(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first one warms up
