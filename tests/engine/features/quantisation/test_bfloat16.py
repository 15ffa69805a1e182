"""Networks in bfloat16, where this processor has it."""

import pytest
import torch
from msgspec import structs

from patchline.engine.errors import DeviceError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.quantisation.processor import check
from patchline.engine.features.weights import random_backbone
from tests.engine.conftest import texture
from tests.engine.features.quantisation.observing import CPU, distance, maps_of

SPEC = random_backbone("resnet18", stages=("layer1", "layer3"))
BFLOAT16 = structs.replace(SPEC, precision="bfloat16")


@pytest.fixture(autouse=True)
def _here() -> None:
    try:
        check(BFLOAT16, CPU, "auto", "auto")
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121"])
def test_a_network_stays_near_itself(name: str) -> None:
    """Eight significant bits: maps lie within a few of their steps of those of float32, and come out in float32."""
    stages = {"mobilenet_v2": ("features.3", "features.6"), "densenet121": ("features.denseblock1",)}
    spec = random_backbone(name, stages=stages.get(name, ("layer1", "layer3")))
    lower = structs.replace(spec, precision="bfloat16")
    for found, expected in zip(maps_of(lower, texture(9)), maps_of(spec, texture(9)), strict=True):
        assert found.dtype == torch.float32
        assert 0 < distance(found, expected) < 0.05


def test_frames_alone_and_in_batches_give_the_same_bits() -> None:
    """Each frame goes through alone, so its embedding does not hang on the others."""
    extractor = load_backbone(BFLOAT16, CPU)
    images = [texture(seed) for seed in range(3)]
    for image, found in zip(images, extractor.embed(images)[0], strict=True):
        assert torch.equal(extractor.embed([image])[0][0], found)
