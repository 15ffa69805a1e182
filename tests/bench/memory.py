"""Peak memory of a fit on 2,000 images, against anomalib's; each side in a process of its own."""

import json
import os
import subprocess
import sys

import numpy as np

from tests.bench import workload
from tests.bench.bench import REPOSITORY, Bench
from tests.bench.row import Row, from_values

IMAGES = 2000
FRACTION = 0.01
PEER_FRACTION = 0.0001


def memory(bench: Bench) -> list[Row]:
    """Peak resident memory, in GiB."""
    count = 100 if bench.quick else IMAGES
    frames = bench.build / f"frames-{count}.npy"
    sources = _write_frames(bench, count)
    weights = workload.efficientnet_lite0()
    state = workload.state_file(bench, weights)
    bench.say(
        f"a fit on {count} images {workload.SIZE_PX} ({sources} good ones of magnetic_tile, mirrored and turned), "
        f"EfficientNet-Lite0, strides 8 and 16; from images to the finished bank\n"
        f"ours: {FRACTION:.2%} of the patches kept; anomalib: {PEER_FRACTION:.2%}, since its time grows with the rows "
        f"and its memory does not\n"
        f"peak resident memory of each process, libraries and memory-mapped files included; frames memory-mapped"
    )
    ours = _ours(frames)
    with bench.new_peer() as peer:
        before = peer.ask("memory")
        peer.ask(
            "load_model",
            backbone=weights.timm_name,
            layers=weights.layers,
            weights=state,
            mean=weights.spec.mean,
            std=weights.spec.std,
            neighbours=9,
        )
        peer.ask("load_frames", frames=frames)
        theirs = peer.ask("fit", batch=8, fraction=PEER_FRACTION, seed=workload.SEED)
    gib = 2**30
    bench.say(
        f"ours: {ours['rows']} rows in {ours['seconds']:.0f} s, {ours['before_bytes'] / gib:.2f} GiB before it began; "
        f"anomalib: {theirs['rows']} rows in {theirs['embed_s'] + theirs['coreset_s']:.0f} s, "
        f"{before['peak_rss_bytes'] / gib:.2f} GiB before"
    )
    return [
        from_values(
            "memory",
            ours["peak_rss_bytes"] / gib,
            theirs["peak_rss_bytes"] / gib,
            goal=5.0,
            unit="GiB",
            less_is_better=True,
        )
    ]


def _ours(frames: os.PathLike[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.fit_worker", os.fspath(frames), str(FRACTION)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def _write_frames(bench: Bench, count: int) -> int:
    """Write `count` different images, uint8 (N, H, W, 3), and return how many files they come from."""
    path = bench.build / f"frames-{count}.npy"
    sources = sorted((bench.data / "magnetic_tile" / "train" / "good").iterdir())
    if not path.exists():
        frames = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, *workload.SIZE_PX, 3))
        for i in range(count):
            image = workload.read(sources[i % len(sources)])
            turn = i // len(sources)
            image = np.rot90(image, turn % 4)
            frames[i] = image[:, ::-1] if turn >= 4 else image
        frames.flush()
    return min(count, len(sources))
