"""Measure the GPU path in one go: `python -m tests.bench.gpu`. It needs a CUDA GPU, and says so where there is none.

WideResNet-50 at 224 px, half precision, a 10 % bank of 16,384 rows of 1,536 values: frames/s of the engine from
prepared images to verdicts, the floor, and the share of time in each stage. Weights are random. With
`--fitted` and `--inspected` the rows are a coreset of the patches of real images; else both are random textures, whose
patches all lie about as far from each other, the hardest there is for the search. With `--device cpu` and small sizes
and another backbone the same code runs anywhere, and its figures mean nothing.
"""

import argparse
import json
import statistics
import sys
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import torch

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.benchmark.benchmark import synthetic_images
from patchline.engine.benchmark.device_stages import DeviceStages
from patchline.engine.benchmark.floor import measure_floor
from patchline.engine.benchmark.frame_stages import Laps
from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.features.extractor import count_flop, load_backbone
from patchline.engine.features.preprocess import prepare
from patchline.engine.features.weights import random_backbone
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.numerics.device import resolve_device
from patchline.engine.numerics.quantise import quantise, scale_for
from patchline.engine.recipe import Backbone, Recipe
from patchline.engine.types import Image, Inspection
from patchline.ops.offline.image_files import find_images, load_image

ROWS = 16_384
GOAL_FRAMES_PER_S = 5_000.0
GOAL_SEARCH_SHARE = 0.1
OUT = Path("build/gpu.json")
STREAMED = 8
"""Batches one after the other."""


def main(arguments: list[str] | None = None) -> int:
    """Print the figures and write them to a file; the exit status is 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32, 128], help="batch sizes to measure")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=224, help="height and width of the frames in pixels")
    parser.add_argument("--backbone", default="wide_resnet50_2", help="a ResNet of torchvision")
    parser.add_argument("--fitted", type=Path, help="folder of images of good parts")
    parser.add_argument("--inspected", type=Path, help="folder of other images of the same product")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the bank")
    parser.add_argument("--out", type=Path, default=OUT, help="JSON file of the figures")
    options = parser.parse_args(arguments)
    device, size_px = torch.device(options.device), (options.size, options.size)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA GPU is at hand: nothing was measured")
        return 2
    machine = measure_floor(str(device))
    backbone = random_backbone(options.backbone, stages=("layer2", "layer3"))
    flop = count_flop(backbone, size_px)
    floor = machine.flop_per_s / flop
    print(
        f"{machine.device}, torch {torch.__version__}: {machine.flop_per_s / 1e12:.3g} TFLOP/s in matrix products "
        f"({machine.precision}), so at most {floor:,.0f} frames/s through the backbone"
    )
    fitted, inspected = workload(options.fitted, options.inspected, size_px, options.rows)
    inspector = Inspector(
        {"bench": bank(fitted, options.rows, size_px, str(device), backbone)}, device=str(device), runtime="torch"
    )
    inspector._batched = True
    inspector.warm_up()
    found = []
    for batch in options.batch:
        frames = [inspected[number % len(inspected)] for number in range(batch)]
        seconds = stages(inspector, frames, options.repeats)
        whole, streamed = seconds.pop("end to end"), seconds.pop("streamed")
        shares = {name: value / sum(seconds.values()) for name, value in seconds.items()}
        print(
            f"batch {batch}: {batch / streamed:,.1f} frames/s, each batch begun while the one before is computed "
            f"(goal {GOAL_FRAMES_PER_S:,.0f}), {batch / streamed / floor:.0%} of the floor; {batch / whole:,.1f} one "
            f"after the other; search {shares['search']:.0%} (goal {GOAL_SEARCH_SHARE:.0%})"
        )
        for name, value in seconds.items():
            print(f"  {name:20s} {1e6 * value / batch:10.1f} us a frame, {shares[name]:4.0%}")
        found.append(
            {
                "batch": batch,
                "frames_per_s": batch / streamed,
                "one_by_one_per_s": batch / whole,
                "seconds": seconds,
                "shares": shares,
            }
        )
    document: dict[str, object] = {
        "device": machine.device,
        "torch": torch.__version__,
        "floor_frames_per_s": floor,
        "batches": found,
    }
    if device.type == "cuda":
        peak_bytes = torch.cuda.max_memory_allocated(device)
        document["peak_bytes"] = peak_bytes
        print(f"peak memory {peak_bytes / 2**30:.1f} GiB")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2))
    return 0


def workload(
    fitted: Path | None, inspected: Path | None, size_px: tuple[int, int], rows: int
) -> tuple[list[Image], list[Image]]:
    """Images to fit and images to inspect, RGB uint8 (H, W, 3)."""
    if fitted is None or inspected is None:
        patches = size_px[0] * size_px[1] // 64
        return synthetic_images(size_px, 1 + 10 * rows // patches), synthetic_images(size_px, 64, seed=1)
    return read(fitted, size_px), read(inspected, size_px)


def read(folder: Path, size_px: tuple[int, int]) -> list[Image]:
    """All images of a folder."""
    return [prepare(load_image(path), size_px) for path in find_images([folder])]


def bank(images: list[Image], rows: int, size_px: tuple[int, int], device: str, backbone: Backbone) -> MemoryBank:
    """A bank of at most `rows` of the images' patches, by greedy k-center."""
    recipe = Recipe(name="bench", backbone=backbone, image_size_px=size_px, false_reject_rate=0.2)
    extractor = load_backbone(recipe.backbone, resolve_device(device), "torch")
    together = extractor.batch_size(size_px)
    parts = [extractor.embed(images[i : i + together])[0] for i in range(0, len(images), together)]
    patches = torch.cat([part.cpu() for part in parts]).flatten(0, 1).numpy()
    scale = scale_for(float(np.abs(patches).max()))
    stored = quantise(patches, scale)
    start = time.perf_counter()
    chosen = greedy_coreset(stored, min(rows, len(stored)), seed=0, device=device).indices
    print(f"coreset: {len(chosen)} of {stored.shape[0]} x {stored.shape[1]} in {time.perf_counter() - start:.2f} s")
    chosen = np.sort(chosen)
    grid = extractor.grid(size_px)
    return MemoryBank(
        recipe=recipe,
        generation=1,
        rows=stored[chosen],
        scale=scale,
        frames=tuple(FrameOrigin(name=f"image-{number}") for number in range(len(images))),
        row_frame=(chosen // (grid[0] * grid[1])).astype(np.int32),
        row_patch=(chosen % (grid[0] * grid[1])).astype(np.int32),
        grid=grid,
        covering_radius=1.0,
        calibration=calibrate(np.full(9, 1e9), 0.2),  # everything passes: maps are not part of it
    )


def stages(inspector: Inspector, frames: list[Image], repeats: int) -> dict[str, float]:
    """Median seconds of a batch by stage (see `benchmark.device_stages`), and end to end."""
    (extractor,) = inspector._backbones.values()
    timed = DeviceStages(inspector.recipes["bench"], extractor, inspector._batch_judge("bench"))
    named = [("bench", frame) for frame in frames]
    seconds: dict[str, list[float]] = {}
    warm_up = 2
    for turn in range(repeats + warm_up):
        (spent,) = timed.time(frames)
        laps = Laps(extractor.device)
        inspector.inspect(named)
        laps.end("end to end")
        _streamed(inspector, named)
        laps.end("streamed")
        if turn >= warm_up:
            for name, value in (spent | laps.seconds).items():
                seconds.setdefault(name, []).append(value)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    del median["map"]  # of rejects and on request only
    median["streamed"] /= STREAMED
    return median


def _streamed(inspector: Inspector, named: list[tuple[str, Image]]) -> None:
    """`STREAMED` batches, at most two of them under way."""
    under_way: deque[Future[list[Inspection]]] = deque()
    for _ in range(STREAMED):
        if len(under_way) == 2:
            under_way.popleft().result()
        under_way.append(inspector.begin(named))
    for answer in under_way:
        answer.result()


if __name__ == "__main__":
    sys.exit(main())
