"""Winograd's convolution against the direct sum in float64."""

import pytest
import torch
from torch import nn

from patchline.engine.features.winograd import WinogradConvolution, fits
from patchline.engine.numerics import onednn

pytestmark = pytest.mark.skipif(not onednn.available(), reason="this build of PyTorch has no oneDNN")


@pytest.mark.parametrize("size", [(56, 56), (28, 28), (14, 14), (13, 18), (5, 4), (1, 3)])
@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.ReLU6()])
@pytest.mark.parametrize("residual", [False, True])
def test_winograd_equals_the_direct_sum(size: tuple[int, int], activation: nn.Module | None, residual: bool) -> None:
    """Every output lies within 3e-5 of the largest one from the float64 sum, at sizes that tiles do and do not fit."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(64, 96, 3, padding=1).requires_grad_(False)
    x = torch.randn(1, 64, *size).relu_().to(memory_format=torch.channels_last)
    added = torch.randn(1, 96, *size).to(memory_format=torch.channels_last) if residual else None
    expected = convolution.double()(x.double())
    if added is not None:
        expected += added
    if activation is not None:
        expected = activation(expected)
    ours = WinogradConvolution(convolution.float(), activation)
    with torch.inference_mode():
        found = ours(x, added)
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).abs().max() <= 3e-5 * expected.abs().max()


def test_the_frames_of_a_batch_are_those_alone() -> None:
    """Each is summed by itself, bit for bit."""
    torch.manual_seed(1)
    convolution = nn.Conv2d(64, 64, 3, padding=1, bias=False).requires_grad_(False)
    ours = WinogradConvolution(convolution, None)
    x = torch.randn(3, 64, 20, 33).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = ours(x)
        alone = ours(x[1:2])
    expected = convolution(x)
    assert (found - expected).abs().max() <= 3e-5 * expected.abs().max()
    assert torch.equal(found[1:2], alone)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(64, 64, 1),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.Conv2d(64, 64, 3),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.Conv2d(64, 64, 3, padding=2, dilation=2),
        nn.Conv2d(16, 16, 3, padding=1),
    ],
)
def test_other_convolutions_are_left_to_the_direct_sum(convolution: nn.Conv2d) -> None:
    """Strided, dilated, grouped, unpadded, 1x1 and narrow convolutions do not fit."""
    assert not fits(convolution)
    assert fits(nn.Conv2d(64, 64, 3, padding=1))
