"""Which device computes, and how precisely."""

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
"""Of the backbone: `auto` is half precision on a GPU and float32 on a CPU."""


def resolve_device(device: str) -> torch.device:
    """`auto` is a CUDA GPU where there is one, else the CPU; anything else is torch's name of a device.

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
    """What the backbone computes in."""
    return torch.float16 if precision == "auto" and device.type == "cuda" else torch.float32


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """On a GPU, float32 products and convolutions in full, not in TF32, whatever the process is set to.

    TF32 has the digits of half precision; bounds of rounding errors, and who asks for float32, rely on float32's. One
    thread at a time uses a GPU, so what is set meanwhile is seen by nobody else.
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


def start_fetch(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the host; what is returned waits for it, in any thread, and gives the copy."""
    if tensor.device.type != "cuda":
        return lambda: tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types for it
    arrived.record(torch.cuda.current_stream(tensor.device))

    def fetched() -> Tensor:
        arrived.synchronize()
        return copy

    return fetched


COMPILERS = ("gcc", "clang")


def can_compile_kernels(device: torch.device) -> bool:
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
