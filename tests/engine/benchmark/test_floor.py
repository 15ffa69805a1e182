"""What the machine can do, beside which every stage is held."""

import torch

from patchline.engine.benchmark.floor import Floor, floor_products, measure_floor
from patchline.engine.numerics.processor import this_processor


def test_the_floor_is_the_longer_of_arithmetic_and_memory_traffic() -> None:
    """Arithmetic and memory traffic overlap, so a stage needs at least the longer of the two."""
    floor = Floor(
        device="cpu", processor=this_processor(), threads=1, precision="float32", flop_per_s=1e9, bytes_per_s=1e6
    )
    assert floor.seconds(2e9, 1e6) == 2.0
    assert floor.seconds(1e9, 3e6) == 3.0


def test_the_floor_of_this_machine_can_be_measured() -> None:
    """Matrix products and memory copies reach rates that any machine reaches."""
    floor = measure_floor("cpu", repeats=1)
    assert floor.flop_per_s > 1e8
    assert floor.bytes_per_s > 1e7
    assert floor.threads >= 1
    assert floor.processor == this_processor()


def test_each_library_multiplies_the_same_matrices() -> None:
    """On a CPU there are two, and the rate counts the same arithmetic for both."""
    flop, products = floor_products(torch.device("cpu"), torch.float32)
    assert list(products) == ["matmul", "oneDNN"]
    one, other = (work() for work in products.values())
    assert isinstance(one, torch.Tensor)
    assert isinstance(other, torch.Tensor)
    assert flop == 2.0 * one.shape[0] ** 3
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
