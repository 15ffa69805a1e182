"""FAISS, imported after PyTorch and with kernels for this processor, wherever the engine needs it.

Both bring an OpenMP runtime. Where PyTorch's is loaded first, it serves both. Where FAISS's is, each has threads of its
own, which spin for a while after each operation, so that small operations of the other take 10 times as long.

FAISS's wheels carry an OpenBLAS of their own, which takes processors that are younger than itself for ones with SSE3
alone, and then multiplies four times as slowly as it could. It is told what to take this one for, as it is loaded;
numpy's OpenBLAS, which is loaded before, is left as it is. OPENBLAS_CORETYPE, where it is set, decides for both.
"""

# isort: off
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np  # noqa: F401 - its OpenBLAS finds out for itself
import torch  # its threads serve both

# isort: on

CORE_TYPES = {"AVX512": "SkylakeX", "AVX2": "Haswell"}
"""OpenBLAS's name of a processor with the instructions that PyTorch finds; others, as arm64, it knows by itself."""


@contextmanager
def _told_of_this_processor() -> Iterator[None]:
    name, core_type = "OPENBLAS_CORETYPE", CORE_TYPES.get(torch.backends.cpu.get_cpu_capability())
    if core_type is None or name in os.environ:
        yield
        return
    os.environ[name] = core_type
    try:
        yield
    finally:
        del os.environ[name]


with _told_of_this_processor():
    import faiss

__all__ = ["faiss"]
