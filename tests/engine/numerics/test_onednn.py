"""Weights are packed as frames ask for them: oneDNN changes no layout while they go through."""

import pytest
import torch

from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import random_backbone
from patchline.engine.numerics import onednn
from patchline.engine.numerics.core_pool import computing_with
from tests.engine.conftest import texture
from tests.engine.numerics.onednn_operations import THREADS, operations_of


@pytest.mark.parametrize("size_px", [(224, 224), (256, 320)])
def test_a_frame_on_one_core_or_on_all_changes_no_layout(
    size_px: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    """A frame on each core and one that all cores share, of any size: a ResNet-50 only convolves."""
    extractor = load_backbone(random_backbone("resnet50", stages=("layer2", "layer3")), torch.device("cpu"), "torch")
    x = extractor.normalise(texture(1, size_px)[None])
    found = {}
    for threads in THREADS:
        with computing_with(threads):
            ran = operations_of(lambda: extractor.feature_maps(x), capfd)
            assert "convolution" in ran
            assert "reorder" not in ran
            found[threads] = extractor.feature_maps(x)
    assert all(torch.equal(one, all_) for one, all_ in zip(found[1], found[torch.get_num_threads()], strict=True))


def test_shapes_that_want_the_same_layout_share_it() -> None:
    """So memory does not grow with every size of frame; each is the same weight."""
    weight = torch.randn(64, 32, 1, 1)
    packed = onednn.PackedWeight(weight, [0, 0], [1, 1], [1, 1], 1)
    found = {}
    for threads in THREADS:
        with computing_with(threads):
            for side in (7, 14, 28, 40, 56):
                found[threads, side] = packed.tensor((1, 32, side, side))
                assert found[threads, side] is packed.tensor((1, 32, side, side))
                assert torch.equal(found[threads, side].to_dense(), weight)
    assert len({id(tensor) for tensor in found.values()}) < len(found)


def test_the_oldest_shape_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of ever other sizes cost no memory; what is asked for again is packed again, and the same."""
    monkeypatch.setattr(onednn, "MOST_SHAPES", 3)
    weight = torch.randn(64, 32, 1, 1)
    packed = onednn.PackedWeight(weight, [0, 0], [1, 1], [1, 1], 1)
    for side in (7, 14, 28, 40, 56, 7):
        assert torch.equal(packed.tensor((1, 32, side, side)).to_dense(), weight)
        assert len(packed._packed) <= 3
