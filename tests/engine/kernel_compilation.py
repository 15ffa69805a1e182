"""Compiles the kernels for GPUs that need not be here: `python -m tests.engine.kernel_compilation CAPABILITY...`.

The engine's own calls choose what is compiled, at the sizes of WideResNet-50 at 224 px; nothing is launched. Prints a
JSON object: for each capability, the shared memory of each kernel in bytes. Kernels are compiled only where
TRITON_INTERPRET is not set.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from patchline.engine.features import patches_cuda
from patchline.engine.search.device import DeviceSearch

PATCHES, DIMENSIONS, ROWS = 784, 1536, 2048


class AbsentGpu:
    """What Triton asks of a GPU while it compiles; each kind has a number of its own, under which Triton keeps it."""

    capability = 0

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, _device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


def main() -> None:
    """Compile all, and print what they need."""
    gpu = AbsentGpu()
    driver.set_active(gpu)
    shared: dict[int, dict[str, int]] = {int(capability): {} for capability in sys.argv[1:]}
    run = JITFunction.run

    def compile_only(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        compiled = run(kernel, *arguments, grid=grid, warmup=True, **options)
        assert compiled.metadata.target.arch == gpu.capability
        most = shared[gpu.capability]
        most[kernel.__name__] = max(most.get(kernel.__name__, 0), compiled.metadata.shared)
        return compiled

    JITFunction.run = compile_only
    index = DeviceSearch(np.random.default_rng(0).random((ROWS, DIMENSIONS), np.float32), half=True, fused=True)
    for gpu.capability in shared:
        _use(index)
    print(json.dumps(shared))


def _use(index: DeviceSearch) -> None:
    frames = torch.zeros((2, PATCHES, DIMENSIONS), dtype=torch.float16)
    index.nearest(frames[0], 1)
    for farthest in (1, 5):
        index.farthest_of_frames(frames, farthest)
    patches_cuda.normalise(
        torch.zeros((2, 224, 224, 3), dtype=torch.uint8), torch.zeros(3), torch.ones(3), 4, torch.float16
    )
    maps = [torch.zeros((2, C, side, side), dtype=torch.float16) for C, side in ((512, 28), (1024, 14))]
    patches_cuda.embed_by_kernels([m.contiguous(memory_format=torch.channels_last) for m in maps])


if __name__ == "__main__":
    main()
