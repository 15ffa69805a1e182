"""Measure the GPU path in one go: `python -m tests.bench.gpu`. It needs a CUDA GPU, and says so where there is none.

WideResNet-50 at 224 px, half precision, a 10 % bank of 16,384 rows of 1,536 values: frames/s of the engine from
prepared images to verdicts, the floor, and the share of time in each stage. Weights are random; the rows are patches of
random textures, and so are the queries, so that the search has as much to do as with real ones. With `--device cpu` and
small sizes and another backbone the same code runs anywhere, and its figures mean nothing.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from engine.backbone import count_flop, load_backbone
from engine.benchmark import measure_floor, synthetic_images
from engine.calibration import calibrate
from engine.device import resolve_device
from engine.device_pass import chunk_size
from engine.inspection import Image
from engine.inspector import Inspector
from engine.memory_bank import FrameOrigin, MemoryBank
from engine.patches import PLAIN
from engine.quantise import quantise, scale_for
from engine.recipe import Backbone, Recipe
from engine.weights import random_backbone

ROWS = 16_384
GOAL_FRAMES_PER_S = 5_000.0
GOAL_SEARCH_SHARE = 0.1
OUT = Path("build/gpu.json")


def main(arguments: list[str] | None = None) -> int:
    """Print the figures and write them to a file; the exit status is 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32, 128], help="batch sizes to measure")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=224, help="height and width of the frames in pixels")
    parser.add_argument("--backbone", default="wide_resnet50_2", help="a ResNet of torchvision")
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
    inspector = Inspector(
        {"bench": bank(options.rows, size_px, str(device), backbone)}, device=str(device), runtime="torch"
    )
    inspector._batched = True
    inspector.warm_up()
    found = []
    for batch in options.batch:
        seconds = stages(inspector, synthetic_images(size_px, batch, seed=1), options.repeats)
        whole = seconds.pop("end to end")
        shares = {name: value / sum(seconds.values()) for name, value in seconds.items()}
        print(
            f"batch {batch}: {batch / whole:,.1f} frames/s end to end (goal {GOAL_FRAMES_PER_S:,.0f}), "
            f"{batch / whole / floor:.0%} of the floor; search {shares['search']:.0%} (goal {GOAL_SEARCH_SHARE:.0%})"
        )
        for name, value in seconds.items():
            print(f"  {name:20s} {1e6 * value / batch:10.1f} us a frame, {shares[name]:4.0%}")
        found.append({"batch": batch, "frames_per_s": batch / whole, "seconds": seconds, "shares": shares})
    document = {"device": machine.device, "torch": torch.__version__, "floor_frames_per_s": floor, "batches": found}
    if device.type == "cuda":
        document["peak_bytes"] = torch.cuda.max_memory_allocated(device)
        print(f"peak memory {document['peak_bytes'] / 2**30:.1f} GiB")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2))
    return 0


def bank(rows: int, size_px: tuple[int, int], device: str, backbone: Backbone) -> MemoryBank:
    """A bank of random patches of synthetic textures, embedded by the backbone."""
    recipe = Recipe(name="bench", backbone=backbone, image_size_px=size_px, false_reject_rate=0.2)
    extractor = load_backbone(recipe.backbone, resolve_device(device), "torch")
    textures = synthetic_images(size_px, 1 + 10 * rows // (size_px[0] * size_px[1] // 64))
    together = extractor.together(size_px)
    parts = [extractor.embed(textures[i : i + together])[0] for i in range(0, len(textures), together)]
    patches = torch.cat([part.cpu() for part in parts]).flatten(0, 1).numpy()
    chosen = np.sort(np.random.default_rng(0).permutation(len(patches))[:rows])
    scale = scale_for(float(np.abs(patches).max()))
    grid = extractor.grid(size_px)
    return MemoryBank(
        recipe=recipe,
        generation=1,
        rows=quantise(patches[chosen], scale),
        scale=scale,
        frames=tuple(FrameOrigin(name=f"texture-{number}") for number in range(len(textures))),
        row_frame=(chosen // (grid[0] * grid[1])).astype(np.int32),
        row_patch=(chosen % (grid[0] * grid[1])).astype(np.int32),
        grid=grid,
        covering_radius=1.0,
        calibration=calibrate(np.full(9, 1e9), 0.2),  # everything passes: maps are not part of it
    )


def stages(inspector: Inspector, frames: list[Image], repeats: int) -> dict[str, float]:
    """Median seconds of a batch by stage, and end to end; the device has finished at each reading of the clock.

    What a stage adds to the one that it contains is a difference of medians: copying and uploading, as far as computing
    does not hide it, and the scores.
    """
    (extractor,) = inspector._backbones.values()
    judge = inspector._batch_judge("bench")
    named = [("bench", frame) for frame in frames]
    embeddings, grid = extractor.embed_batch(frames)
    queries = embeddings.flatten(0, 1)
    full = chunk_size(frames[0].shape)
    launches = [
        extractor._passes[PLAIN]
        ._chunk((1 << (min(full, len(frames) - start) - 1).bit_length(), *frames[0].shape))
        ._launch
        for start in range(0, len(frames), full)
    ]
    work: dict[str, Callable[[], object]] = {
        "backbone": lambda: [launch() for launch in launches],
        "embed": lambda: extractor.embed_batch(frames),
        "search": lambda: judge._index.nearest(queries, 1),
        "judge": lambda: judge.judge(embeddings, grid, "none"),
        "end to end": lambda: inspector.inspect(named),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    warm_up = 2
    for turn in range(repeats + warm_up):
        for name, run in work.items():
            taken = _seconds(run, extractor.device)
            if turn >= warm_up:
                seconds[name].append(taken)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "copy, upload": max(0.0, median["embed"] - median["backbone"]),
        "backbone": median["backbone"],
        "search": median["search"],
        "scores, verdicts": max(0.0, median["judge"] - median["search"]),
        "end to end": median["end to end"],
    }


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    with torch.inference_mode():
        run()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
