"""PyTorch and FAISS share their threads, whatever part of the product is imported first."""

import subprocess
import sys

import pytest

COUNT_THREADS = """
import importlib, os, sys
importlib.import_module("patchline." + sys.argv[1])
import numpy as np, torch
from patchline.engine.numerics.faiss_library import faiss
torch.set_num_threads(2)
faiss.omp_set_num_threads(2)
threads = lambda: len(os.listdir("/proc/self/task"))
torch.zeros(4_000_000).add_(1)
before = threads()
rows = np.random.default_rng(0).random((2000, 64), np.float32)
index = faiss.IndexFlatL2(64)
index.add(rows)
index.search(rows, 4)
print(threads() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize(
    "first",
    [
        "engine.search.factory",
        "engine.inspection.inspector",
        "engine.fitting.fit",
        "ops.offline.image_files",
        "ops.service.service",
    ],
)
def test_faiss_starts_no_threads_of_its_own(first: str) -> None:
    """Those that PyTorch has serve FAISS too: two runtimes would spin against each other."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS, first], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 0
