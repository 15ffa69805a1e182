"""PyTorch and FAISS share their threads, whatever is imported first, and FAISS has kernels that fit the processor."""

import json
import os
import subprocess
import sys

import pytest
import torch

from patchline.engine.numerics.faiss_library import CORE_TYPES

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


LOADED = """
import json, os
{first}
from threadpoolctl import threadpool_info
types = {{os.path.basename(os.path.dirname(each["filepath"])): each["architecture"]
          for each in threadpool_info() if each["internal_api"] == "openblas"}}
print(json.dumps({{"types": types, "left": os.environ.get("OPENBLAS_CORETYPE")}}))
"""


def loaded(first: str, **variables: str) -> tuple[str, str, str | None]:
    """What FAISS's OpenBLAS and numpy's take the processor for, and what OPENBLAS_CORETYPE is after the import."""
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"} | variables
    code = LOADED.format(first=first)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=env
    )
    told = json.loads(done.stdout)
    (of_faiss,) = (name for name in told["types"] if "faiss" in name)
    (of_numpy,) = (name for name in told["types"] if "numpy" in name)
    return told["types"][of_faiss], told["types"][of_numpy], told["left"]


IMPORT = "from patchline.engine.numerics.faiss_library import faiss"


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in CORE_TYPES, reason="OpenBLAS knows other processors by itself"
)
def test_faiss_has_kernels_that_fit_the_processor() -> None:
    """Its old OpenBLAS is told; numpy's finds out for itself, and the environment is left as it was."""
    _, alone, _ = loaded("import numpy, torch, faiss")
    core_type = CORE_TYPES[torch.backends.cpu.get_cpu_capability()]
    assert loaded(IMPORT) == (core_type, alone, None)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() not in CORE_TYPES, reason="Haswell's kernels need AVX2")
def test_who_names_a_core_type_is_heard() -> None:
    """Whatever the processor is; and narrower kernels of PyTorch mean narrower ones of FAISS."""
    assert loaded(IMPORT, OPENBLAS_CORETYPE="Sandybridge")[::2] == ("Sandybridge", "Sandybridge")
    assert loaded(IMPORT, ATEN_CPU_CAPABILITY="avx2")[0] == "Haswell"
