"""Backbones in int8 for tests: their ranges are observed on textures, as a fit observes them on good parts."""

from collections.abc import Sequence

import torch
from msgspec import structs

from patchline.engine.features import batch_norm, network
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.quantisation import int8
from patchline.engine.recipe import Backbone
from patchline.engine.types import Image
from tests.engine.conftest import texture

CPU = torch.device("cpu")


def in_int8(spec: Backbone, size_px: tuple[int, int] = (64, 64), images: Sequence[Image] = ()) -> Backbone:
    """The backbone in int8, with ranges of images or, without any, of four textures."""
    extractor = load_backbone(spec, CPU, "torch")
    observer = int8.observer(int8.join_convolutions(batch_norm.fold(network.build(spec))))
    for image in images or [texture(seed, size_px) for seed in range(4)]:
        observer(extractor.normalise(image[None]))
    return structs.replace(spec, precision="int8", ranges=observer.ranges())


def maps_of(spec: Backbone, image: Image) -> list[torch.Tensor]:
    """What the network makes of one image."""
    extractor = load_backbone(spec, CPU)
    return extractor.feature_maps(extractor.normalise(image[None]))


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far feature maps lie from others, as a share of how these vary over the image."""
    varying = expected - expected.mean((2, 3), keepdim=True)
    return float((found - expected).norm() / varying.norm())
