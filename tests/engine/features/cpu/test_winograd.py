"""Winograd's convolution against the direct sum in float64."""

import pytest
import torch
from torch import nn

from patchline.engine.features.cpu.winograd import WinogradConvolution, fits
from patchline.engine.numerics import onednn
from patchline.engine.numerics.core_pool import computing_with

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


@pytest.mark.parametrize("threads", [1, torch.get_num_threads()])
def test_frames_of_a_batch_are_summed_by_themselves(threads: int) -> None:
    """Each lies within 3e-5 of the largest output from the direct sum; nothing of one frame is in another's."""
    torch.manual_seed(1)
    convolution = nn.Conv2d(64, 64, 3, padding=1, bias=False).requires_grad_(False)
    ours = WinogradConvolution(convolution, nn.ReLU())
    x, added = torch.randn(2, 3, 64, 20, 33).unbind()
    x[1] *= 1000
    x, added = (part.to(memory_format=torch.channels_last) for part in (x, added))
    expected = (convolution(x) + added).relu_()
    with torch.inference_mode(), computing_with(threads):
        for found, frame in zip(ours(x, added), expected, strict=True):
            assert (found - frame).abs().max() <= 3e-5 * frame.abs().max()


@pytest.mark.parametrize("size", [(56, 56), (64, 1400), (5, 1400), (30, 90)])
def test_blocks_of_tiles_of_any_shape(size: tuple[int, int]) -> None:
    """Maps of several blocks, of rows of tiles or of parts of one, whose last tiles go beyond the frame or do not."""
    torch.manual_seed(2)
    convolution = nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False)
    x = torch.randn(1, 64, *size).to(memory_format=torch.channels_last)
    expected = convolution(x)
    with torch.inference_mode():
        found = WinogradConvolution(convolution, None)(x)
    assert (found - expected).abs().max() <= 3e-5 * expected.abs().max()


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
