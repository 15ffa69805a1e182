"""Matrix products with threads of torch, and with a matrix that stays."""

from functools import partial

import numpy as np
import pytest
import torch

from patchline.engine.numerics import onednn
from patchline.engine.numerics.core_pool import computing_with
from patchline.engine.numerics.matmul import FEWEST_VECTORS, FixedProduct, product
from tests.engine.numerics.onednn_operations import THREADS, operations_of


def test_products_of_arrays_are_those_of_numpy() -> None:
    """In either precision, also of memory that may not be written to."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 5)), rng.normal(size=(5, 9))
    a.setflags(write=False)
    np.testing.assert_allclose(product(a, b), a @ b)
    single = product(a.astype(np.float32), b.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, a @ b, rtol=1e-4, atol=1e-5)


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
    fixed = FixedProduct(matrix, 192)
    monkeypatch.setattr(onednn, "available", lambda: False)
    plain = FixedProduct(matrix, 192)
    for count in (1, 63, 256, 301, 784, 1025):
        vectors = torch.zeros(count, fixed.depth)
        vectors[:, :depth] = torch.from_numpy(rng.normal(size=(count, depth)).astype(np.float32))
        exact = vectors[:, :depth].double() @ matrix.double()
        most = (192 + depth / 192 + 2) * 2.0**-24 * (vectors[:, :depth].abs().double() @ matrix.abs().double())
        for threads in THREADS:
            with computing_with(threads):
                assert ((fixed(vectors).double() - exact).abs() <= most).all()
                assert ((plain(vectors).double() - exact).abs() <= most).all()
                ran = operations_of(partial(fixed, vectors), capfd)
                assert "reorder" not in ran
                assert ("convolution" in ran) == (count >= FEWEST_VECTORS)
