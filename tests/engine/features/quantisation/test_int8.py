"""Networks in 8-bit integers: every kind of network stays near itself, and gives the same bits however it is run."""

from collections.abc import Callable

import pytest
import torch
from msgspec import structs
from torch import fx

from patchline.engine.errors import RecipeError
from patchline.engine.features import batch_norm, network
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.quantisation import int8
from patchline.engine.features.quantisation.layers import Dequantise, Int8Convolution, Int8MaxPool, Quantise
from patchline.engine.features.weights import EFFICIENTNET_LITE0, random_backbone
from patchline.engine.numerics.core_pool import computing_with
from patchline.engine.recipe import Backbone
from tests.engine.conftest import texture
from tests.engine.features.quantisation.observing import CPU, distance, in_int8, maps_of
from tests.engine.numerics.onednn_operations import THREADS, operations_of

STAGES = {
    "densenet121": ("features.denseblock1", "features.denseblock2"),
    "shufflenet_v2_x1_0": ("stage2", "stage3"),
    "mobilenet_v2": ("features.3", "features.6"),
    "mobilenet_v3_small": ("features.3", "features.6"),
}


def backbone(name: str) -> Backbone:
    return (
        EFFICIENTNET_LITE0 if name == "lite0" else random_backbone(name, stages=STAGES.get(name, ("layer1", "layer3")))
    )


def kinds(spec: Backbone) -> dict[type, int]:
    """How many modules of each kind the network calls."""
    graph = int8.to_int8(int8.join_convolutions(batch_norm.fold(network.build(spec))), spec)
    called = [type(graph.get_submodule(str(node.target))) for node in graph.graph.nodes if node.op == "call_module"]
    return {kind: called.count(kind) for kind in (Int8Convolution, Int8MaxPool, Quantise, Dequantise, torch.nn.Conv2d)}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", *STAGES, "lite0"])
def test_every_network_stays_near_itself(name: str) -> None:
    """Sums, groups, shared and chunked inputs, activations that are not joined: maps lie near those of float32."""
    spec = backbone(name)
    image = texture(9)
    for found, expected in zip(maps_of(in_int8(spec), image), maps_of(spec, image), strict=True):
        assert found.dtype == torch.float32
        assert 0 < distance(found, expected) < 0.35


def test_a_resnet_is_integers_but_for_the_sums_that_lead_to_a_tapped_stage() -> None:
    """Within blocks all is integers, as are the sums of a stage that nothing taps; others are rounded a block."""
    spec = in_int8(random_backbone("resnet50", stages=("layer2",)))
    assert kinds(spec) == {
        Int8Convolution: 1 + 3 * 3 + 1 + 4 * 3 + 1,
        Int8MaxPool: 1,
        Quantise: 1 + 3,  # the image, and the sums of three blocks of layer2 for the next block
        Dequantise: 0,
        torch.nn.Conv2d: 0,
    }


def test_frames_alone_and_in_batches_give_the_same_bits() -> None:
    """Each frame goes through alone; whether all cores together give the same bits is asked before they share one."""
    extractor = load_backbone(in_int8(random_backbone("resnet18", stages=("layer2", "layer3"))), CPU)
    images = [texture(seed) for seed in range(3)]
    together = extractor.embed(images)[0]
    for image, found in zip(images, together, strict=True):
        assert torch.equal(extractor.embed([image])[0][0], found)


def test_a_frame_changes_nothing_for_the_next() -> None:
    """Sums are written over what is added, which must be nothing that is read again."""
    extractor = load_backbone(in_int8(random_backbone("resnet18", stages=("layer1", "layer2"))), CPU)
    x = extractor.normalise(texture(1)[None])
    kept = x.clone()
    first = [found.clone() for found in extractor.feature_maps(x)]
    extractor.feature_maps(extractor.normalise(texture(2)[None]))
    assert torch.equal(x, kept)
    assert all(torch.equal(one, other) for one, other in zip(first, extractor.feature_maps(x), strict=True))


@pytest.mark.parametrize("size_px", [(224, 224), (96, 160)])
def test_a_frame_on_one_core_or_on_all_changes_no_layout(
    size_px: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    """Weights are packed as frames ask for them, in 8 bits too."""
    spec = in_int8(random_backbone("resnet50", stages=("layer2", "layer3")), size_px)
    extractor = load_backbone(spec, CPU)
    x = extractor.normalise(texture(1, size_px)[None])
    for threads in THREADS:
        with computing_with(threads):
            ran = operations_of(lambda: extractor.feature_maps(x), capfd)
            assert "convolution" in ran
            assert "reorder" not in ran


@pytest.mark.parametrize(
    "change",
    [lambda _: (), lambda ranges: ranges[:-1], lambda ranges: tuple((f"{n}x", a, b) for n, a, b in ranges)],
    ids=["none", "one is missing", "other names"],
)
def test_ranges_of_another_network_are_refused(
    change: Callable[[tuple[tuple[str, float, float], ...]], tuple[tuple[str, float, float], ...]],
) -> None:
    """Without the range that it was fitted with, a tensor would be rounded otherwise."""
    spec = in_int8(random_backbone("resnet18", stages=("layer1",)))
    with pytest.raises(RecipeError, match=r"backbone 'resnet18' in int8: no range is stated for .* expected those"):
        load_backbone(structs.replace(spec, ranges=change(spec.ranges)), CPU)


def test_other_ranges_are_another_backbone() -> None:
    """Two banks with one backbone and ranges of their own share no pass: what one rounds away the other may keep."""
    spec = random_backbone("resnet18", stages=("layer1",))
    one, other = in_int8(spec, images=[texture(1)]), in_int8(spec, images=[texture(2)])
    assert one != other
    assert not torch.equal(maps_of(one, texture(3))[0], maps_of(other, texture(3))[0])


def test_a_joined_network_is_what_it_was() -> None:
    """What is observed is the network in float32."""
    spec = random_backbone("resnet18", stages=("layer1", "layer2"))
    plain: fx.GraphModule = batch_norm.fold(network.build(spec))
    x = torch.randn(1, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = [found.clone() for found in plain(x)]
        for found, wanted in zip(int8.join_convolutions(plain)(x), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
