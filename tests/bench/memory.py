"""Peak memory of a fit on 2,000 images, against anomalib's; each side in a process of its own.

Private memory is what a process needs to run: pages of libraries and of mapped files, which resident memory counts too,
are the system's to drop.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.bench import workload
from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.peer import REPOSITORY
from tests.bench.private_memory import PrivateMemory
from tests.bench.row import Row, from_values

IMAGES = 2000
FRACTION = 0.01
PEER_FRACTION = 0.0001


def memory(bench: Bench) -> list[Row]:
    """Peak private memory, in GiB, and beside it peak resident memory."""
    count = 100 if bench.quick else IMAGES
    frames = bench.build / f"frames-{count}.npy"
    sources = write_frames(bench, count)
    weights = workload.efficientnet_lite0()
    state = workload.state_file(bench, weights)
    bench.say(
        f"a fit on {count} images {workload.SIZE_PX} ({sources} good ones of magnetic_tile, mirrored and turned), "
        f"EfficientNet-Lite0, strides 8 and 16; from images to the finished bank\n"
        f"ours: {FRACTION:.2%} of the patches kept; anomalib: {PEER_FRACTION:.2%}, since its time grows with the rows "
        f"and its memory does not\n"
        f"`memory`: peak private memory of each process; `memory_resident`: with the pages of libraries and of mapped "
        f"files, {frames.stat().st_size / 2**30:.2f} GiB of frames among them on both sides"
    )
    ours, our_private = _ours(frames)
    with bench.new_peer() as peer, PrivateMemory(peer.pid) as watched:
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
        peer_loaded = peer.loaded()
    gib = 2**30
    bench.say(
        f"ours: {ours['rows']} rows in {ours['seconds']:.0f} s, {ours['before_bytes'] / gib:.2f} GiB before it began; "
        f"anomalib: {theirs['rows']} rows in {theirs['embed_s'] + theirs['coreset_s']:.0f} s, "
        f"{before['peak_rss_bytes'] / gib:.2f} GiB before"
    )
    found = (
        ("memory", our_private, watched.peak_bytes, 5.0),
        ("memory_resident", ours["peak_rss_bytes"], theirs["peak_rss_bytes"], None),
    )
    return [
        from_values(figure, our / gib, their / gib, goal=goal, unit="GiB", less_is_better=True, peer_loaded=peer_loaded)
        for figure, our, their, goal in found
    ]


def _ours(frames: Path) -> tuple[dict[str, float], int]:
    """What the worker says, and its peak of private memory."""
    command = [sys.executable, "-m", "tests.bench.fit_worker", os.fspath(frames), str(FRACTION)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    with process, PrivateMemory(process.pid) as watched:
        printed, _ = process.communicate()
    if process.returncode:
        raise FigureUnavailableError(f"the fit ended with {process.returncode}")
    said: dict[str, float] = json.loads(printed.splitlines()[-1])
    return said, watched.peak_bytes


def write_frames(bench: Bench, count: int) -> int:
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
