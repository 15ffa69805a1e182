"""Frames that share a core's pass through the largest layers: each is bit for bit what it is alone."""

from collections.abc import Iterator
from functools import cache
from typing import cast

import pytest
import torch
from torch import Tensor, fx, nn

from patchline.engine.features.cpu import frames_together
from patchline.engine.features.cpu.frames_together import FramesTogether
from patchline.engine.features.cpu.fusion import OneDnnConvolution
from patchline.engine.features.cpu.winograd import WinogradConvolution
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import random_backbone
from patchline.engine.numerics import onednn
from patchline.engine.numerics.core_pool import computing_with, shared_pool
from tests.engine.features.cpu.test_fusion import STAGES

pytestmark = pytest.mark.skipif(not onednn.available(), reason="this build of PyTorch has no oneDNN")


@pytest.fixture
def joining(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On one core, with a clock by which joining always pays: frames are joined wherever their bits allow it."""
    monkeypatch.setattr(frames_together, "quickest_s", lambda work, _times: 1.0 - (work.__name__ == "joined"))
    with computing_with(1):
        yield


def network(name: str, stages: tuple[str, ...] = ()) -> FramesTogether:
    """A torchvision network of random weights, up to its last tapped stage, which has met no frame."""
    return FramesTogether(_fused(name, stages or STAGES.get(name, ("layer2", "layer3"))))


@cache
def _fused(name: str, stages: tuple[str, ...]) -> fx.GraphModule:
    made = load_backbone(random_backbone(name, stages=stages), torch.device("cpu"), "torch")._network
    assert isinstance(made, FramesTogether)
    return made.graph


def inputs(count: int, size: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Frames of noise as a network takes them."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 3, *size, generator=generator).to(memory_format=torch.channels_last) for _ in range(count)]


def same(found: list[list[Tensor]], expected: list[list[Tensor]]) -> bool:
    """Whether all maps of all frames are the same bits."""
    return len(found) == len(expected) and all(
        torch.equal(a, b)
        for ours, theirs in zip(found, expected, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def of_frames(made: FramesTogether, frames: list[Tensor]) -> list[list[Tensor]]:
    """What the network makes of frames together."""
    with torch.inference_mode():
        return [list(maps) for maps in made.of_frames(frames)]


def alone(made: FramesTogether, frames: list[Tensor]) -> list[list[Tensor]]:
    """What the network makes of each frame."""
    with torch.inference_mode():
        return [list(made(frame)) for frame in frames]


@pytest.mark.usefixtures("joining")
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet50", (224, 224)),
        ("resnet18", (224, 224)),
        ("resnet18", (96, 160)),
        ("resnet18", (100, 68)),
        ("resnext50_32x4d", (96, 96)),
    ],
)
def test_frames_together_are_those_alone(name: str, size: tuple[int, int]) -> None:
    """Two and four frames through a network whose last stages join: each has the maps that it has alone."""
    made = network(name)
    frames = inputs(4, size)
    expected = alone(made, frames)
    for count in (2, 4, 4):
        assert same(of_frames(made, frames[:count]), expected[:count])


@pytest.mark.usefixtures("joining")
@pytest.mark.parametrize("name", ["densenet121", "shufflenet_v2_x1_0", "mobilenet_v2"])
def test_other_networks_stay_themselves(name: str) -> None:
    """Operations that are no convolutions, shared inputs and chunks: every frame goes through them by itself."""
    made = network(name)
    frames = inputs(2, (64, 64))
    assert same(of_frames(made, frames), alone(made, frames))


@pytest.mark.usefixtures("joining")
def test_layers_whose_weights_are_largest_are_joined() -> None:
    """At 224 px the last stage of a ResNet-50 is, and nothing of its first."""
    made = network("resnet50")
    of_frames(made, inputs(4, (224, 224)))
    ((_, steps),) = made._plans.items()
    joined = {str(step.nodes[0]) for step in steps if step.joined}
    apart = {str(node) for step in steps if not step.joined for node in step.nodes}
    assert any(name.startswith("layer3") for name in joined)
    assert not any(name.startswith(("conv1", "layer1")) for name in joined)
    assert len(joined | apart) == len(made.graph.graph.nodes)


def test_frames_larger_than_the_weights_go_one_by_one() -> None:
    """No layer's weights outweigh a large frame: nothing is measured, and nothing joined."""
    made = network("resnet18", stages=("layer1",))
    frames = inputs(2, (224, 224))
    with computing_with(1):
        assert same(of_frames(made, frames), alone(made, frames))
    assert made._joins == {}


def test_many_threads_may_begin_at_once() -> None:
    """While one finds out how frames go through together, others take theirs; all have the same bits."""
    made = network("resnet18")
    frames = inputs(8, (96, 96))
    with computing_with(1):
        expected = alone(made, frames)
    starts = [0, 4, 1, 2, 3, 4, 0, 2]
    cores = shared_pool(torch.get_num_threads())
    for start, found in zip(starts, cores.map(lambda i: of_frames(made, frames[i : i + 4]), starts), strict=True):
        assert same(found, expected[start : start + 4])


@pytest.mark.usefixtures("joining")
def test_other_bits_are_not_joined() -> None:
    """Where frames together come out otherwise than alone, however little, each goes by itself."""

    class Otherwise(nn.Module):
        kind = ("otherwise",)

        def forward(self, x: Tensor) -> Tensor:
            return x * (1 + torch.finfo().eps * (len(x) > 1))

    layer = cast(OneDnnConvolution, Otherwise())
    assert not frames_together._joining_pays(layer, ((1, 8, 4, 4),), 2)
    assert frames_together._joining_pays(cast(OneDnnConvolution, nn.Identity()), ((1, 8, 4, 4),), 2)


def test_what_takes_longer_together_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the core decides between ways of the same bits."""
    monkeypatch.setattr(frames_together, "quickest_s", lambda work, _times: 1.0 + (work.__name__ == "joined"))
    assert not frames_together._joining_pays(cast(OneDnnConvolution, nn.Identity()), ((1, 8, 4, 4),), 2)


def test_weights_outweigh_a_frame_by_its_size() -> None:
    """A 1x1 convolution of 512 to 1,024 channels: 2 MiB of weights against 6 KiB a pixel; Winograd's: 36 MiB."""
    direct = OneDnnConvolution(nn.Conv2d(512, 1024, 1).requires_grad_(False), None)
    assert direct.weights_outweigh(18, 18)
    assert not direct.weights_outweigh(19, 18)
    strided = OneDnnConvolution(nn.Conv2d(512, 512, 1, stride=2).requires_grad_(False), None)
    assert strided.weights_outweigh(20, 20)
    assert not strided.weights_outweigh(22, 20)
    filtered = WinogradConvolution(nn.Conv2d(512, 512, 3, padding=1).requires_grad_(False), None)
    assert filtered.weights_outweigh(60, 60)
    assert not filtered.weights_outweigh(64, 64)
