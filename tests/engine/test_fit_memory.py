"""The memory of a fit: bounded, however many images there are."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.process import REPOSITORY

FIT = """
import sys
from collections.abc import Sequence
from pathlib import Path
import numpy as np
import engine.covering
from engine.fit import fit
from engine.recipe import Recipe
from engine.weights import random_backbone

engine.covering.CACHE_BYTES = 2**20  # memory that it takes for speed, up to a fixed size
count, side = int(sys.argv[1]), 224
tiles = np.random.default_rng(0).integers(0, 255, (4, 14, 14, 3), dtype=np.uint8)

class Images(Sequence):
    def __len__(self): return count
    def __getitem__(self, index):
        if index >= count: raise IndexError
        return f"{index}", np.kron(tiles[index % 4], np.ones((16, 16, 1), np.uint8)) + np.uint8(index // 4 % 50)

def private_bytes():
    # Pages of files are the system's to drop; anonymous memory is the process's own.
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) * 1024

peak = dict.fromkeys(("read", "embed", "coreset", "calibrate"), 0)
def progress(stage, done, total): peak[stage] = max(peak[stage], private_bytes())

recipe = Recipe(name="m", backbone=random_backbone("resnet18", stages=("maxpool",)), image_size_px=(side, side),
                coreset_fraction=8 / (0.8 * count * 56 * 56), false_reject_rate=0.2)
report = fit(Images(), recipe, device="cpu", progress=progress, scratch=Path(sys.argv[2]))
assert report.rows <= 9
print(max(peak["read"], peak["embed"]), max(peak.values()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is told apart on Linux only")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """With 160 images more, reading and embedding take no more memory of their own, the whole fit 32 bytes a patch.

    The prepared images alone would take 24 MB more, and their embeddings 51 MB as 16-bit integers.
    """
    few, many = (_peak_bytes(count, tmp_path) for count in (40, 200))
    assert many[0] - few[0] < 2**23
    assert many[1] - few[1] < 32 * (0.8 * 160 * 56 * 56) + 2**23


def _peak_bytes(count: int, scratch: Path) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", FIT, str(count), str(scratch)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={"PATH": "", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    embedding, whole = done.stdout.split()
    return int(embedding), int(whole)
