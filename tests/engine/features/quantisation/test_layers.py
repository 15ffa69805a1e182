"""8-bit convolutions against the arithmetic that they stand for, in float64."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d

from patchline.engine.features.quantisation.layers import FloatConvolution, Int8Convolution, Int8MaxPool
from patchline.engine.features.quantisation.processor import LARGEST_WEIGHT
from patchline.engine.features.quantisation.ranges import Affine

SOURCE, ADDED, TARGET = Affine(0.02, 100), Affine(0.05, 30), Affine(0.07, 20)
TIES = 1e-3
"""Share of integers that may differ by 1: float32 sums round a value midway between two of them either way."""


def drawn(convolution: nn.Conv2d) -> nn.Conv2d:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 10)
    return convolution


def integers(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(memory_format=torch.channels_last)


def exactly(convolution: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """The convolution of what the integers stand for, with weights of seven bits and a sign, in float64."""
    weight = convolution.weight.detach().double()
    scales = weight.abs().amax((1, 2, 3), keepdim=True).float().double() / LARGEST_WEIGHT
    rounded = torch.round(weight / scales) * scales
    assert (rounded / scales).abs().max() == LARGEST_WEIGHT
    values = (x.double() - SOURCE.zero_point) * SOURCE.scale
    bias = None if convolution.bias is None else convolution.bias.detach().double()
    geometry = convolution.stride, convolution.padding, convolution.dilation, convolution.groups
    return conv2d(values, rounded, bias, *geometry)  # type: ignore[arg-type]  # no padding by name


CONVOLUTIONS = {
    "1x1": lambda: nn.Conv2d(64, 96, 1),
    "3x3": lambda: nn.Conv2d(64, 32, 3, padding=1),
    "strided": lambda: nn.Conv2d(64, 32, 3, stride=2, padding=1, bias=False),
    "depthwise": lambda: nn.Conv2d(64, 64, 5, padding=2, groups=64),
    "grouped": lambda: nn.Conv2d(64, 64, 3, padding=1, groups=4),
    "dilated": lambda: nn.Conv2d(64, 32, 3, padding=2, dilation=2),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.ReLU6()], ids=["none", "relu", "relu6"])
@torch.inference_mode()
def test_a_convolution_is_that_of_the_values_that_its_integers_stand_for(
    kind: str, activation: nn.Module | None
) -> None:
    """In float32 to its digits; in integers the nearest one, but where a value lies midway between two."""
    convolution = drawn(CONVOLUTIONS[kind]())
    x = integers(2, 64, 15, 17)
    expected = exactly(convolution, x)
    expected = expected if activation is None else activation(expected)
    of = FloatConvolution(convolution, activation)
    found = Int8Convolution(of, SOURCE)(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    rounded = torch.round(expected / TARGET.scale + TARGET.zero_point).clamp(0, 255)
    off = (Int8Convolution(of, SOURCE, target=TARGET)(x).double() - rounded).abs()
    assert off.max() <= 1
    assert (off > 0).double().mean() < TIES


@pytest.mark.parametrize("activation", [None, nn.ReLU()], ids=["none", "relu"])
@torch.inference_mode()
def test_what_is_added_is_added_before_the_activation(activation: nn.Module | None) -> None:
    """In integers of its own scale where integers come out, and in float32 where float32 does."""
    convolution = drawn(nn.Conv2d(64, 32, 3, padding=1))
    x, added = integers(1, 64, 12, 12), integers(1, 32, 12, 12, seed=1)
    values = (added.double() - ADDED.zero_point) * ADDED.scale
    expected = exactly(convolution, x) + values
    expected = expected if activation is None else activation(expected)
    of = FloatConvolution(convolution, activation)
    floats = values.float().contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(Int8Convolution(of, SOURCE)(x, floats).double(), expected, rtol=1e-5, atol=1e-5)
    rounded = torch.round(expected / TARGET.scale + TARGET.zero_point).clamp(0, 255)
    off = (Int8Convolution(of, SOURCE, ADDED, TARGET)(x, added.clone()).double() - rounded).abs()
    assert off.max() <= 1
    assert (off > 0).double().mean() < TIES


def test_a_channel_without_weights_stays_zero() -> None:
    """Pruned channels have no scale of their own to divide by."""
    convolution = nn.Conv2d(8, 4, 1, bias=False)
    with torch.no_grad():
        convolution.weight.zero_()
    assert not Int8Convolution(FloatConvolution(convolution, None), SOURCE)(integers(1, 8, 4, 4)).any()


@pytest.mark.parametrize("size", [(112, 112), (7, 9), (8, 5), (1, 2)])
def test_the_largest_of_integers(size: tuple[int, int]) -> None:
    """As PyTorch's own pooling of the same numbers in float32, at borders too."""
    x = integers(2, 16, *size)
    assert torch.equal(Int8MaxPool()(x), max_pool2d(x.float(), 3, 2, 1).to(torch.uint8))


@pytest.mark.parametrize(
    "other",
    [nn.MaxPool2d(2, 2), nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 1, 1), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.ReLU()],
)
def test_other_pooling_stays_as_it_is(other: nn.Module) -> None:
    """Only the pooling that it computes is replaced by it."""
    assert Int8MaxPool.fits(nn.MaxPool2d(3, 2, 1))
    assert not Int8MaxPool.fits(other)
