"""A forward pass as a CUDA graph: hundreds of operations recorded once, and then started by one launch."""

import warnings
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Launch: TypeAlias = Callable[[], Tensor]
WARM_UP = 3
"""Passes before the recording: cuDNN measures its algorithms, cuBLAS takes its workspaces."""


def graphed(forward: Callable[[Tensor], Tensor], input_: Tensor) -> Launch:
    """`forward(input_)` as a launch that reads what `input_` holds then, and gives the same tensor each time.

    Where it cannot be recorded, a warning says why, and the launch runs `forward` itself.
    """
    try:
        return _captured(forward, input_)
    except (RuntimeError, AssertionError, ValueError) as error:  # the last two: no CUDA in torch, no such device
        warnings.warn(f"no CUDA graph of {tuple(input_.shape)}: {error}", RuntimeWarning, stacklevel=2)
        return lambda: forward(input_)


def _captured(forward: Callable[[Tensor], Tensor], input_: Tensor) -> Launch:
    ahead = torch.cuda.Stream(input_.device)  # type: ignore[no-untyped-call]  # torch has no types for it
    ahead.wait_stream(torch.cuda.current_stream(input_.device))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(input_.device), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        with torch.cuda.stream(ahead):
            for _ in range(WARM_UP):
                forward(input_)
        torch.cuda.current_stream(input_.device).wait_stream(ahead)
        # Other threads, which decode, may go on allocating memory meanwhile.
        with torch.cuda.graph(graph, stream=ahead, capture_error_mode="thread_local"):
            output = forward(input_)

    def launch() -> Tensor:
        graph.replay()
        return output

    return launch
