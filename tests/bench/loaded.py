"""What a process has loaded: versions, the kernels that its libraries chose, threads. Both sides ask it of themselves.

It runs in the peer's environment too, so it knows nothing of Patchline, and imports no library that is not there yet.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import threadpoolctl

Loaded: TypeAlias = Mapping[str, Any]
"""What `loaded` returns; it goes through JSON."""
LIBRARIES = ("torch", "faiss", "numpy", "numba", "openvino", "anomalib")
VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
    "FAISS_SIMD_LEVEL",
    "OPENBLAS_CORETYPE",
    "NUMBA_CPU_NAME",
    "OMP_NUM_THREADS",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
)
"""What changes kernels, threads or memory, and is said where it is set."""


def loaded() -> dict[str, Any]:
    """The libraries of this process by now.

    `versions` of those that were imported; `kernels`: what PyTorch's own are made for, the versions of the MKL and the
    oneDNN inside it, and FAISS's SIMD level; `pools`: every BLAS and OpenMP runtime, and for OpenBLAS which processor
    it takes this one for; `variables` that are set.
    """
    modules = {name: sys.modules[name] for name in LIBRARIES if name in sys.modules}
    kernels: dict[str, str] = {}
    if "torch" in modules:
        kernels |= _torch(modules["torch"])
    if "faiss" in modules:
        kernels["faiss"] = modules["faiss"].SIMDConfig.get_level_name()
    return {
        "versions": {name: str(module.__version__) for name, module in modules.items()},
        "kernels": kernels,
        "pools": [
            {
                "library": pool["internal_api"],
                "of": Path(pool["filepath"]).parent.name.removesuffix(".libs"),
                "version": pool["version"],
                "architecture": pool.get("architecture"),
                "threads": pool["num_threads"],
            }
            for pool in threadpoolctl.threadpool_info()
        ],
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def stated(what: Loaded) -> str:
    """The same in a line."""
    versions, kernels = what["versions"], what["kernels"]
    libraries = ", ".join(
        f"{name} {version}" + (f" ({kernels[name]})" if name in kernels else "") for name, version in versions.items()
    )
    inside = "".join(f", {name} {kernels[name]}" for name in ("MKL", "oneDNN") if name in kernels)
    pools = "".join(
        f", {pool['library']}{' ' + pool['version'] if pool['version'] else ''} of {pool['of']}"
        + (f" for {pool['architecture']}" if pool["architecture"] else "")
        + f" ({pool['threads']} threads)"
        for pool in what["pools"]
    )
    variables = "".join(f" {name}={value}" for name, value in what["variables"].items())
    return libraries + inside + pools + (f";{variables}" if variables else "")


def _torch(torch: Any) -> dict[str, str]:
    """PyTorch links MKL and oneDNN into itself, where nothing but its own description of itself shows them."""
    described = torch.__config__.show()
    found = {"torch": torch.backends.cpu.get_cpu_capability()}
    for name, pattern in (("MKL", r"Math Kernel Library Version (\S+)"), ("oneDNN", r"MKL-DNN v(\S+)")):
        if match := re.search(pattern, described):
            found[name] = match[1]
    return found
