"""Devices: which one computes, how precisely, what kernels it can have, and copies from it to the host."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from patchline.engine.errors import DeviceError

Precision: TypeAlias = Literal["auto", "float32"]
"""How a device computes a backbone that its recipe states in float32: `auto` is half precision on a GPU and float32 on
a CPU. What a recipe states below float32 (`Backbone.precision`) is computed as stated.
"""
COMPILERS = ("gcc", "clang")
"""C compilers that Triton finds on the PATH."""


def resolve_device(device: str) -> torch.device:
    """Find the device that a setting names: `auto` is a CUDA GPU where there is one, else the CPU.

    Anything else is torch's name of a device, `cpu` or `cuda[:N]`.

    Raises:
        DeviceError: this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"device {device!r}: expected auto, cpu or cuda[:N]") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r}: this machine has no CUDA GPU that torch can use")
    if resolved.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {device!r}: expected auto, cpu or cuda[:N]")
    return resolved


def backbone_dtype(device: torch.device, precision: Precision) -> torch.dtype:
    """The type in which the backbone computes."""
    return torch.float16 if precision == "auto" and device.type == "cuda" else torch.float32


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Within the context, a GPU computes float32 products and convolutions in full, not in TF32.

    TF32 has the digits of half precision, while bounds on rounding errors rely on those of float32, as do users who ask
    for float32. The setting is the process's own; as one thread at a time uses a GPU, no other thread sees it.
    """
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def can_compile_kernels(device: torch.device) -> bool:
    """Whether `device` is a GPU for which Triton kernels can be compiled here.

    That takes Triton, and a C compiler for its launchers. Where a GPU lacks one of them, a warning says so: the same is
    then computed without kernels, more slowly.
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


def start_fetch(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the host; return a function that waits, in any thread, for the copy and returns it."""
    if tensor.device.type != "cuda":
        return lambda: tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types for it
    arrived.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Tensor:
        arrived.synchronize()
        return copy

    return wait
