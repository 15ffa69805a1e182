"""The memory of a fit: bounded, however many images there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.process import REPOSITORY

MEASURED = """
import json, sys, threading
from collections.abc import Sequence
from pathlib import Path
import numpy as np
from patchline.engine.coreset import candidate_pairs, centre_distances
from patchline.engine.coreset.greedy import greedy_coreset
from patchline.engine.fitting.fit import fit
from patchline.engine.numerics import projection
from patchline.engine.recipe import Recipe
from patchline.engine.features.weights import random_backbone

# Memory that is taken for speed, up to a fixed size.
candidate_pairs.CACHE_BYTES = 2**20
candidate_pairs.COMPARED_VALUES = candidate_pairs.GATHER_VALUES = centre_distances.PART = 2**18
candidate_pairs.MEASURED_VALUES = 2**18
projection.CHUNK_VALUES = 2**18
folder, side = Path(sys.argv[1]), 224
tiles = np.random.default_rng(0).integers(0, 255, (4, 14, 14, 3), dtype=np.uint8)

class Images(Sequence):
    def __init__(self, count): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, index):
        if index >= self.count: raise IndexError
        return f"{index}", np.kron(tiles[index % 4], np.ones((16, 16, 1), np.uint8)) + np.uint8(index // 4 % 50)

def private_bytes():
    # Pages of files are the system's to drop; anonymous memory is the process's own.
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) * 1024

def peak_bytes(work):
    peak, done = private_bytes(), threading.Event()
    def watch():
        nonlocal peak
        while not done.wait(0.002): peak = max(peak, private_bytes())
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        work()
    finally:
        done.set()
        watching.join()
    return peak

def fitted(count):
    recipe = Recipe(name="m", backbone=random_backbone("resnet18", stages=("maxpool",)), image_size_px=(side, side),
                    coreset_fraction=8 / (0.8 * count * 56 * 56), false_reject_rate=0.2, least_rows=0)
    assert fit(Images(count), recipe, device="cpu", scratch=folder).rows <= 10

def chosen(count):
    path = folder / f"vectors-{count}"
    with path.open("wb") as file:
        for start in range(0, count, 2**16):
            values = np.random.default_rng(start).integers(-30000, 30000, (min(2**16, count - start), 2))
            file.write(values.astype(np.int16).tobytes())
    vectors = np.memmap(path, np.int16, "r", shape=(count, 2))
    assert len(greedy_coreset(vectors, 10, seed=0, projection=1, scratch=folder).indices) == 10

few, many = 40, 160
fitted(few)  # what a first fit loads, once and for all, is not of the images
found = {"fits": [peak_bytes(lambda: fitted(count)) for count in (few, many)]}
few, many = 2**19, 2**21
found["coresets"] = [peak_bytes(lambda: chosen(count)) for count in (few, many)]
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is told apart on Linux only")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """A fit takes 16 bytes more of its own for each further patch.

    Of 120 images more, those prepared would be 18 MB, and their embeddings 39 MB as 16-bit integers. At 16 bytes the
    82 million patches of 20,000 images at 512 px are 1.3 GB.
    """
    threads = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    at_once = {"MALLOC_MMAP_THRESHOLD_": "262144"}  # arrays are given back when freed, and leave no holes
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={"PATH": "", "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **threads, **at_once},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    few, many = found["fits"]
    assert many - few < 16 * (0.8 * 120 * 56 * 56) + 2**23
    few, many = found["coresets"]
    assert many - few < 17 * (2**21 - 2**19) + 2**22
