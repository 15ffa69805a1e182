"""A narrower processor than there is, played: what its three variables do not reach is told of it here.

`ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2` keep oneDNN, PyTorch and MKL to AVX2.
FAISS, every OpenBLAS and numba look at the processor themselves, and PyTorch's 8-bit products go through instructions
that oneDNN's variable does not hide.
"""

import os
from typing import Any, NoReturn

import torch

from patchline.engine.numerics.processor import AVX512, AVX512_VNNI, AVX_VNNI, Processor, this_processor

AVX2_VARIABLES = {"FAISS_SIMD_LEVEL": "AVX2", "OPENBLAS_CORETYPE": "Haswell", "NUMBA_CPU_NAME": "haswell"}
"""What keeps to AVX2 those libraries that do not read the three variables."""


def untold() -> dict[str, str]:
    """Variables that are missing so that all libraries play along; they are read when a library is loaded."""
    processor = this_processor()
    if not processor.narrowed or processor.has(AVX512):
        return {}
    return {name: value for name, value in AVX2_VARIABLES.items() if name not in os.environ}


def play_along() -> Processor:
    """Have this process be the processor that is played, and return it as it is then.

    Where 8-bit sums in 32 bits (VNNI) are not in effect and the processor has them, `torch._int_mm` is refused: its
    time would be that of the wider processor.
    """
    processor = this_processor()
    if processor.narrowed and not processor.has(AVX512_VNNI) and not processor.has(AVX_VNNI):
        torch._int_mm = _refused  # for as long as the process lasts
    return processor


def stated() -> str:
    """What was done for the part, in a line; empty where none is played."""
    if not this_processor().narrowed:
        return ""
    told = " ".join(f"{name}={os.environ[name]}" for name in AVX2_VARIABLES if name in os.environ)
    refused = "; torch._int_mm is refused, which would use VNNI" if torch._int_mm is _refused else ""
    return f"played: {told}{refused}"


def _refused(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("torch._int_mm: refused, as the processor that is played has no VNNI")
