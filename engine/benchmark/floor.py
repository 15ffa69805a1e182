"""What this machine can do: the rates of matrix products and of memory, beside which every stage is held.

The floor of a stage is the time that its arithmetic would take at the measured rate of matrix products, or its memory
traffic at the measured bandwidth, whichever is longer.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from patchline.engine.numerics.device import Precision, backbone_dtype, full_float32, resolve_device
from patchline.engine.numerics.matmul import FixedProduct
from patchline.engine.numerics.processor import Processor, this_processor

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The rates that the machine reaches: `flop_per_s` in products of `precision`, `bytes_per_s` in copying memory.

    `processor` is what it has them from, also where a GPU computes: the host prepares frames and launches kernels.
    """

    device: str
    processor: Processor
    threads: int
    precision: str
    flop_per_s: float
    bytes_per_s: float

    def seconds(self, flop: float, bytes_moved: float) -> float:
        """The least time for so much arithmetic and memory traffic, overlapped."""
        return max(flop / self.flop_per_s, bytes_moved / self.bytes_per_s)


def measure_floor(device: str = "auto", *, precision: Precision = "auto", repeats: int = 5) -> Floor:
    """Measure the rate of matrix products and the bandwidth of memory, each the best of some repeats.

    Args:
        device: as `resolve_device` takes it.
        precision: of the products.
        repeats: how often each is measured.

    Raises:
        DeviceError: this machine has no such device.
    """
    on = resolve_device(device)
    dtype = backbone_dtype(on, precision)
    flop, products = floor_products(on, dtype)
    source = torch.zeros(64 * 2**20, device=on)  # far larger than any cache
    target = torch.empty_like(source)
    with full_float32(on):
        products_s = min(min(_times(work, on, repeats)) for work in products.values())
    return Floor(
        device=torch.cuda.get_device_name(on) if on.type == "cuda" else "cpu",
        processor=this_processor(),
        threads=torch.get_num_threads(),
        precision=str(dtype).removeprefix("torch."),
        flop_per_s=flop / products_s,
        bytes_per_s=2 * FLOAT32_BYTES * len(source) / min(_times(lambda: target.copy_(source), on, repeats)),
    )


def floor_products(device: torch.device, dtype: torch.dtype) -> tuple[float, Mapping[str, Callable[[], object]]]:
    """Large matrix products on a device, by each library that it has, and the arithmetic of one of them, in flop."""
    size = 2048 if device.type == "cpu" else 8192
    a, b = torch.randn((2, size, size), device=device, dtype=torch.float32).to(dtype)
    products: dict[str, Callable[[], object]] = {"matmul": lambda: a @ b}
    if device.type == "cpu":
        by_convolution = FixedProduct(b, summed=size)  # on some processors far quicker than the library's products
        products["oneDNN"] = lambda: by_convolution(a)
    return 2.0 * size**3, products


def _times(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first one warms up
