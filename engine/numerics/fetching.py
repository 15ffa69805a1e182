"""Tensors from a device to the host while the device goes on."""

from collections.abc import Callable

import torch
from torch import Tensor


def fetching(tensor: Tensor) -> Callable[[], Tensor]:
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
