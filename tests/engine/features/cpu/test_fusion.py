"""Convolutions with what follows them, fused on a CPU: every network stays itself."""

from unittest.mock import patch

import pytest
import torch

from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import random_backbone
from patchline.engine.numerics import onednn
from patchline.engine.recipe import Backbone
from patchline.engine.types import Image
from tests.engine.conftest import texture

CPU = torch.device("cpu")


STAGES = {
    "densenet121": ("features.denseblock1", "features.denseblock2"),
    "shufflenet_v2_x1_0": ("stage2", "stage3"),
    "mobilenet_v2": ("features.3", "features.6"),
}


def maps_of(spec: Backbone, pixels: Image) -> list[torch.Tensor]:
    """What the network makes of one image."""
    extractor = load_backbone(spec, CPU, "torch")
    return extractor.feature_maps(extractor.normalise(pixels[None]))


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "densenet121", "shufflenet_v2_x1_0", "mobilenet_v2"])
def test_fused_convolutions_compute_what_the_model_does(name: str) -> None:
    """Sums, activations, groups, shared and chunked inputs: with convolutions fused, every network stays itself."""
    spec = random_backbone(name, stages=STAGES.get(name, ("layer1", "layer3")))
    assert onednn.available()
    pixels = texture(4, (64, 96))
    fused = maps_of(spec, pixels)
    with patch.object(onednn, "available", return_value=False):
        plain = maps_of(spec, pixels)
    for found, expected in zip(fused, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
