"""Convolutions with what follows them: with cuDNN on a GPU where one is at hand, else the same graph on the CPU."""

import numpy as np
import pytest
import torch
from torch import nn

from patchline.engine.features import fusion_cuda
from patchline.engine.features.extractor import FeatureExtractor, load_backbone
from patchline.engine.features.weights import random_backbone
from patchline.engine.numerics.device import Precision, full_float32
from patchline.engine.types import Image
from tests.engine.conftest import KERNEL_DEVICE, texture

ON_GPU = KERNEL_DEVICE == "cuda"


def drawn(name: str, library: str, stages: tuple[str, ...]) -> FeatureExtractor:
    """In float32, as the library has it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fusion_cuda, "fuse_for_cuda", lambda graph: graph)
        patched.setattr(fusion_cuda, "widen_input", lambda _: 3)
        patched.setattr("patchline.engine.numerics.onednn.available", lambda: False)
        spec = random_backbone(name, library=library, stages=stages)
        return load_backbone(spec, torch.device(KERNEL_DEVICE), "torch", "float32")


@pytest.mark.parametrize(
    ("name", "library", "stages", "fused"),
    [
        ("resnet18", "torchvision", ("layer1", "layer2"), 9),
        ("wide_resnet50_2", "torchvision", ("layer1", "layer2"), 22),
        ("tf_efficientnet_lite0", "timm", ("1", "2"), 0),
    ],
)
def test_a_fused_network_gives_the_maps_of_the_plain_one(
    name: str, library: str, stages: tuple[str, ...], fused: int
) -> None:
    """Every convolution before a ReLU is fused, biases and sums included, and the input has a channel more."""
    extractor = drawn(name, library, stages)
    graph = extractor._network
    assert isinstance(graph, torch.fx.GraphModule)
    noise = torch.Generator().manual_seed(2)
    for module in graph.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.data = torch.randn(module.bias.shape, generator=noise).to(KERNEL_DEVICE)
    x = torch.randn(2, 3, 64, 96, generator=noise).to(KERNEL_DEVICE).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), full_float32(torch.device(KERNEL_DEVICE)):
        expected = [output.clone() for output in graph(x)]
        fusion_cuda.fuse_for_cuda(graph)
        assert sum(isinstance(module, fusion_cuda.CudnnConvolution) for module in graph.modules()) == fused
        assert fusion_cuda.widen_input(graph) == 4
        wide = torch.cat([x, torch.full_like(x[:, :1], 7.0)], dim=1).contiguous(memory_format=torch.channels_last)
        found = graph(wide)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


@pytest.mark.skipif(not ON_GPU, reason="no CUDA GPU is at hand")
@pytest.mark.parametrize(("precision", "allowed"), [("auto", 2e-2), ("float32", 1e-4)])
def test_a_gpu_embeds_as_the_cpu_does(precision: Precision, allowed: float) -> None:
    """Fused, in its own precision, by CUDA graphs: patches of any number of images lie where the CPU has them."""
    spec = random_backbone("resnet18", stages=("layer2", "layer3"))
    images: list[Image] = [texture(seed, (96, 64)) for seed in range(5)]
    gpu = load_backbone(spec, torch.device("cuda"), "torch", precision)
    cpu = load_backbone(spec, torch.device("cpu"), "torch")
    for count in (5, 1, 3):
        found, grid = gpu.embed(images[:count])
        expected, other = cpu.embed(images[:count])
        assert grid == other
        off = np.linalg.norm((found.cpu() - expected).numpy(), axis=2) / np.linalg.norm(expected.numpy(), axis=2)
        assert off.max() < allowed
