"""Networks are cut after the last tapped stage, and only what the recipe names is built."""

import pytest
import timm
import torch
from msgspec import structs
from torch import nn

from patchline.engine.errors import RecipeError, WeightsError
from patchline.engine.features.cpu.frames_together import FramesTogether
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import EFFICIENTNET_LITE0, random_backbone
from patchline.engine.recipe import Backbone
from tests.engine.conftest import texture

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("spec", "last", "dropped"),
    [
        (random_backbone("resnet18", stages=("layer1", "layer2")), "layer2", ("layer3", "layer4", "fc")),
        (EFFICIENTNET_LITE0, "blocks.4", ("blocks.5", "blocks.6", "conv_head", "classifier")),
    ],
)
def test_nothing_is_built_after_the_last_stage(spec: Backbone, last: str, dropped: tuple[str, ...]) -> None:
    """The network holds its last stage, none of the modules behind it, no batch normalisation and no gradient."""
    runs = load_backbone(spec, CPU, "torch")._network
    assert isinstance(runs, FramesTogether)
    network = runs.graph
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
    assert isinstance(extractor._network, FramesTogether)
    network = extractor._network.graph
    left = [*(name for name, _ in network.named_modules()), *(name for name, _ in network.named_parameters())]
    assert not [part for part in left if any(part == gone or part.startswith(f"{gone}.") for gone in dropped)]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"name": "resnet17"}, RecipeError, "'resnet17': torchvision has no such model"),
        ({"stages": ("layer9",)}, RecipeError, "has no stage layer9: it has conv1"),
        ({"stages": ()}, RecipeError, "has no stage"),
        ({"library": "timm", "name": "coat_tiny", "stages": ("1", "2")}, RecipeError, "cannot be cut at 1, 2"),
        ({"weights": "random:x"}, WeightsError, "expected random:SEED"),
        ({"weights": "random:²"}, WeightsError, "expected random:SEED"),
        ({"weights": "random:" + "1" * 5000}, WeightsError, "expected random:SEED"),
        ({"weights": "package:no_such_package"}, WeightsError, "no such package is installed"),
        ({"weights": "IMAGENET1K_V9"}, WeightsError, "torchvision has none of that name"),
    ],
)
def test_backbones_that_are_none(change: dict[str, object], error: type[Exception], says: str) -> None:
    """Names that no library knows are refused with what was found."""
    with pytest.raises(error, match=says):
        load_backbone(structs.replace(random_backbone("resnet18"), **change), CPU)


@pytest.mark.parametrize(
    "name",
    ["hf-hub:org/model", "hf_hub:org/model", "local-dir:/tmp/model", "resnet18:x", "org/resnet18", "../resnet18"],
)
def test_a_name_of_timm_that_is_a_place_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm would fetch the model's configuration from there, as soon as a bank that names it is opened."""
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("asked to make it"))
    with pytest.raises(RecipeError, match="timm has no such model"):
        load_backbone(structs.replace(random_backbone("resnet18", library="timm"), name=name), CPU)


def test_a_model_of_torchvision_fetches_no_weights_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector has those of its backbone by default: here it is made without, and refused for what it is."""
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("fetched"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("fetched"))
    for name in ("fasterrcnn_resnet50_fpn", "fcn_resnet50"):
        with pytest.raises(RecipeError):
            load_backbone(random_backbone(name, stages=("nothing",)), CPU)
