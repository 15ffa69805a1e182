"""A forward pass as a CUDA graph: hundreds of operations, recorded once, are then started by one launch."""

import warnings
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Launch: TypeAlias = Callable[[], Tensor]
"""Computes the pass from what its input tensor holds, into an output tensor that is the same each time."""
WARM_UP = 3
"""Passes before the recording: cuDNN measures its algorithms, cuBLAS takes its workspaces."""


def record(forward: Callable[[Tensor], Tensor], input_: Tensor) -> Launch:
    """Record `forward(input_)`.

    Where it cannot be recorded, a warning says why, and the launch runs `forward` itself.
    """
    try:
        return _record(forward, input_)
    except (RuntimeError, AssertionError, ValueError) as error:  # the last two: no CUDA in torch, no such device
        warnings.warn(f"no CUDA graph of {tuple(input_.shape)}: {error}", RuntimeWarning, stacklevel=2)
        return lambda: forward(input_)


def _record(forward: Callable[[Tensor], Tensor], input_: Tensor) -> Launch:
    stream = torch.cuda.Stream(input_.device)  # type: ignore[no-untyped-call]  # torch has no types for it
    stream.wait_stream(torch.cuda.current_stream(input_.device))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(input_.device), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                forward(input_)
        torch.cuda.current_stream(input_.device).wait_stream(stream)
        # Other threads, which decode, may go on allocating memory meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = forward(input_)

    def launch() -> Tensor:
        graph.replay()
        return output

    return launch
