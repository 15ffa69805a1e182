"""Whether kernels can be compiled here: they are written in Triton, which comes with PyTorch for CUDA."""

import os
import shutil
import warnings
from importlib.util import find_spec

import torch

COMPILERS = ("gcc", "clang")


def compiles(device: torch.device) -> bool:
    """Whether `device` is a GPU, and Triton and the C compiler that it needs for its launchers are installed.

    A warning says what is missing on a GPU: the same is computed without kernels then, slower.
    """
    if device.type != "cuda":
        return False
    missing = []
    if find_spec("triton") is None:
        missing.append("Triton is not installed")
    if "CC" not in os.environ and not any(map(shutil.which, COMPILERS)):
        missing.append(f"no C compiler is on the PATH, expected {' or '.join(COMPILERS)}")
    if missing:
        warnings.warn(f"inspection on {device} is slow: {'; '.join(missing)}", RuntimeWarning, stacklevel=2)
    return not missing
