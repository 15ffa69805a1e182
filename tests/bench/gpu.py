"""Measure the GPU path in one go: `python -m tests.bench.gpu`. It needs a CUDA GPU, and says so where there is none.

WideResNet-50 at 224 px, half precision, a 10 % bank of 16,384 rows of 1,536 values: frames/s of the engine from
prepared images to verdicts, the floor, and the share of time in each stage. Weights and rows are random; neither
changes the work.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from engine.backbone import count_flop
from engine.calibration import calibrate
from engine.inspection import Image
from engine.inspector import Inspector
from engine.memory_bank import FrameOrigin, MemoryBank
from engine.recipe import Recipe
from engine.weights import random_backbone

ROWS, DIMENSIONS = 16_384, 1_536
GOAL_FRAMES_PER_S = 5_000.0
GOAL_SEARCH_SHARE = 0.1


def main() -> int:
    """Print the figures; the exit status is 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32, 128], help="batch sizes to measure")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA GPU is at hand: nothing was measured")
        return 2
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    rate = _product_rate()
    flop = count_flop(random_backbone("wide_resnet50_2", stages=("layer2", "layer3")), (224, 224))
    floor = rate / flop
    print(f"half-precision products: {rate / 1e12:.0f} TFLOP/s, so at most {floor:,.0f} frames/s through the backbone")
    inspector = Inspector({"bench": bank()}, device="cuda")
    for batch in options.batch:
        frames = images(batch)
        seconds = stages(inspector, frames, options.repeats)
        whole = seconds.pop("end to end")
        share = seconds["search, scores"] / sum(seconds.values())
        print(
            f"batch {batch}: {batch / whole:,.0f} frames/s end to end (goal {GOAL_FRAMES_PER_S:,.0f}), "
            f"{batch / whole / floor:.0%} of the floor; search {share:.0%} of the stages (goal {GOAL_SEARCH_SHARE:.0%})"
        )
        for name, value in seconds.items():
            print(f"  {name:16s} {1e6 * value / batch:8.1f} us a frame, {value / sum(seconds.values()):4.0%}")
    print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    return 0


def bank(rows: int = ROWS, size_px: tuple[int, int] = (224, 224)) -> MemoryBank:
    """A bank of random rows for WideResNet-50 with random weights."""
    rng = np.random.default_rng(0)
    recipe = Recipe(
        name="bench",
        backbone=random_backbone("wide_resnet50_2", stages=("layer2", "layer3")),
        image_size_px=size_px,
        false_reject_rate=0.2,
    )
    grid = (size_px[0] // 8, size_px[1] // 8)
    return MemoryBank(
        recipe=recipe,
        generation=1,
        rows=rng.integers(0, 2**12, (rows, DIMENSIONS), dtype=np.int16),
        scale=2.0**-12,
        frames=(FrameOrigin(name="random"),),
        row_frame=np.zeros(rows, dtype=np.int32),
        row_patch=np.arange(rows, dtype=np.int32) % (grid[0] * grid[1]),
        grid=grid,
        covering_radius=1.0,
        calibration=calibrate(np.full(9, 1e9), 0.2),  # everything passes: maps are not part of it
    )


def images(count: int, size_px: tuple[int, int] = (224, 224)) -> list[Image]:
    """Random images."""
    return list(np.random.default_rng(1).integers(0, 256, (count, *size_px, 3), dtype=np.uint8))


def stages(inspector: Inspector, frames: list[Image], repeats: int) -> dict[str, float]:
    """Median seconds of a batch by stage, and end to end; the device has finished at each reading of the clock."""
    (extractor,) = inspector._backbones.values()
    judge = inspector._batch_judge("bench")
    named = [("bench", frame) for frame in frames]
    pixels = np.stack(frames)
    x = extractor.normalise(pixels)
    embeddings, grid = extractor.embed_batch(frames)
    work: dict[str, Callable[[], object]] = {
        "upload, normalise": lambda: extractor.normalise(pixels),
        "backbone": lambda: extractor.feature_maps(x),
        "search, scores": lambda: judge.judge(embeddings, grid, "none"),
        "end to end": lambda: inspector.inspect(named),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(repeats + 2):
        for name, run in work.items():
            taken = _seconds(run, extractor.device)
            if turn >= 2:
                seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _product_rate(size: int = 8192, repeats: int = 10) -> float:
    """Floating-point operations a second of half-precision matrix products."""
    A = torch.randn(size, size, device="cuda", dtype=torch.float16)
    device = A.device
    taken = [_seconds(lambda: A @ A, device) for _ in range(repeats)]
    return 2 * size**3 / min(taken)


if __name__ == "__main__":
    sys.exit(main())
