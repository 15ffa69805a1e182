"""Ranges of tensors and the integers that they become."""

import pytest
import torch
from torch import fx, nn

from patchline.engine.features.quantisation.ranges import PIXELS, Affine, Observer, affines, of_pixels
from patchline.engine.features.weights import EFFICIENTNET_LITE0


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 3.0), (-2.0, 0.0), (0.5, 2.0), (0.0, 0.0)])
def test_zero_is_an_integer_and_every_value_is_half_a_step_off_at_most(low: float, high: float) -> None:
    """Borders are filled with zeros, which must not become anything else; the ends of the range are kept."""
    affine = Affine.of(low, high)
    assert affine.dequantise(affine.quantise(torch.zeros(1))).item() == 0
    values = torch.linspace(low, high, 1001)
    off = (affine.dequantise(affine.quantise(values)) - values).abs().max()
    # Where 0 becomes an integer the range may shift by half a step.
    assert off <= affine.scale * 1.001


def test_values_beyond_the_range_take_its_end() -> None:
    """Nothing wraps around: what is far above the range stays the largest."""
    affine = Affine.of(-1.0, 3.0)
    assert affine.quantise(torch.tensor([-100.0, 100.0])).tolist() == [0, 255]


def test_pixels_of_one_mean_and_deviation_are_their_own_integers() -> None:
    """EfficientNet-Lite takes (pixel - 127) / 128: all 256 values of a pixel come through 8 bits unchanged."""
    affine = Affine.of(*of_pixels(EFFICIENTNET_LITE0))
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(affine.quantise((pixels.float() - 127) / 128), pixels)


class Doubling(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


def test_an_observer_keeps_the_ends_over_all_that_it_sees() -> None:
    """The smallest and the largest value of any frame, in the order of the network, for the named tensors alone."""
    graph = fx.symbolic_trace(Doubling())
    node = next(node for node in graph.graph.nodes if node.op == "call_function")
    observer = Observer(graph, {"doubled": node})
    for x in (torch.tensor([1.0, 2.0]), torch.tensor([-3.0, 0.0]), torch.tensor([0.5, 0.5])):
        observer(x)
    assert observer.ranges() == (("doubled", -6.0, 4.0),)


def test_a_backbone_always_knows_the_range_of_pixels() -> None:
    """It follows from mean and deviation; the others are those that the backbone states."""
    assert affines(EFFICIENTNET_LITE0) == {PIXELS: Affine(1 / 128, 127)}
