"""The kernels of pixels and patches: on a GPU where one is at hand, else by Triton's interpreter."""

import pytest
import torch

from patchline.engine.features import patches
from patchline.engine.features.patches import PLAIN, PatchOptions
from tests.engine.conftest import KERNEL_DEVICE

pytest.importorskip("triton", reason="Triton is not installed")
from patchline.engine.features import patches_cuda


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_maps_of_several_grids_are_joined(dtype: torch.dtype) -> None:
    """The finest map gives the grid, wherever it stands; coarser ones are resized to it, odd sizes as well."""
    shapes = [(2, 300, 4, 5), (2, 20, 7, 9), (2, 5, 2, 2), (2, 3, 7, 9)]
    noise = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(shape, generator=noise).to(KERNEL_DEVICE, dtype).contiguous(memory_format=torch.channels_last)
        for shape in shapes
    ]
    assert patches_cuda.supports(maps, PLAIN)
    expected, grid = patches.embed(maps, (56, 72))
    joined, found = patches_cuda.embed_by_kernels(maps)
    assert found == grid == (7, 9)
    assert joined.shape == expected.shape
    torch.testing.assert_close(joined, expected, rtol=1e-3 if dtype == torch.float16 else 1e-5, atol=1e-3)


def test_what_the_kernels_cannot_do_is_left_to_torch() -> None:
    """Another grid, centred maps, another layout of memory."""
    maps = [torch.zeros(1, 4, 6, 6).contiguous(memory_format=torch.channels_last)]
    assert patches_cuda.supports(maps, PatchOptions(levelling=True))
    assert not patches_cuda.supports(maps, PatchOptions(centring=True))
    assert not patches_cuda.supports(maps, PatchOptions(stride_px=16))
    assert not patches_cuda.supports([torch.zeros(1, 4, 6, 6)], PLAIN)


@pytest.mark.parametrize("channels", [3, 4])
def test_pixels_are_normalised(channels: int) -> None:
    """By channel, and zeros beyond the third; nothing is written beside the result."""
    pixels = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([120.0, 110.0, 100.0]), torch.tensor([50.0, 60.0, 70.0])
    given = pixels.to(KERNEL_DEVICE), mean.to(KERNEL_DEVICE), std.to(KERNEL_DEVICE)
    found = patches_cuda.normalise(*given, channels, torch.float16).cpu()
    assert found.shape == (2, channels, 5, 7)
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = ((pixels.permute(0, 3, 1, 2).float() - mean.view(3, 1, 1)) / std.view(3, 1, 1)).half()
    torch.testing.assert_close(found[:, :3], expected)
    assert not found[:, 3:].any()
