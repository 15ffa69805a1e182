"""Weights are packed as frames ask for them: oneDNN changes no layout while they go through."""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import torch

from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import random_backbone
from patchline.engine.numerics import onednn
from patchline.engine.numerics.core_pool import computing_with
from patchline.engine.numerics.matmul import FEW, FixedProduct
from tests.engine.conftest import texture

THREADS = (1, torch.get_num_threads(), 1)


def told_by_onednn(work: Callable[[], object], capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The kinds of operations that oneDNN says it ran."""
    work()  # what is only done once
    capfd.readouterr()
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        work()
    ctypes.CDLL(None).fflush(None)
    lines = [line.split(",") for line in capfd.readouterr().out.splitlines() if ",exec," in line]
    return [line[line.index("exec") + 2] for line in lines]


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
            ran = told_by_onednn(lambda: extractor.feature_maps(x), capfd)
            assert "convolution" in ran
            assert "reorder" not in ran
            found[threads] = extractor.feature_maps(x)
    assert all(torch.equal(one, all_) for one, all_ in zip(found[1], found[torch.get_num_threads()], strict=True))


@pytest.mark.parametrize(
    ("depth", "columns"),
    [
        (1536, 45),
        (1024, 252),
        (768, 125),
        (496, 93),
        (384, 125),
        (250, 61),
        (200, 128),
        (192, 31),
        (152, 61),
        (152, 24),
        (128, 125),
        (40, 61),
        (31, 125),
        (7, 252),
        (7, 3),
    ],
)
def test_a_product_with_a_fixed_matrix_is_one_of_sums(
    depth: int, columns: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As exact as sums of so many dimensions are, by oneDNN and without it; no number of vectors changes a layout."""
    rng = np.random.default_rng(depth)
    matrix = torch.from_numpy(rng.normal(size=(depth, columns)).astype(np.float32))
    product = FixedProduct(matrix, 192)
    monkeypatch.setattr(onednn, "available", lambda: False)
    plain = FixedProduct(matrix, 192)
    for count in (1, 63, 256, 301, 784, 1025):
        vectors = torch.zeros(count, product.depth)
        vectors[:, :depth] = torch.from_numpy(rng.normal(size=(count, depth)).astype(np.float32))
        exact = vectors[:, :depth].double() @ matrix.double()
        most = (192 + depth / 192 + 2) * 2.0**-24 * (vectors[:, :depth].abs().double() @ matrix.abs().double())
        for threads in THREADS:
            with computing_with(threads):
                assert ((product(vectors).double() - exact).abs() <= most).all()
                assert ((plain(vectors).double() - exact).abs() <= most).all()
                ran = told_by_onednn(lambda of=vectors: product(of), capfd)
                assert "reorder" not in ran
                assert ("convolution" in ran) == (count >= FEW)


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
