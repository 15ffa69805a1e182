"""Products of codes by 16-bit instructions: exact whatever the shape, and left alone where they cannot be compiled."""

import numpy as np
import pytest
import torch

from patchline.engine.numerics.core_pool import computing_with
from patchline.engine.numerics.processor import AVX2, this_processor
from patchline.engine.search.int8_codes import code_products
from patchline.engine.search.word_products import TILE_QUERIES, TILE_ROWS, word_products, words_pay

pytestmark = pytest.mark.skipif(not this_processor().has(AVX2), reason="this processor has no AVX2")


@pytest.mark.parametrize("width", [1, 2, 11, 64, 96])
@pytest.mark.parametrize(
    ("n", "m"),
    [(1, 1), (TILE_QUERIES - 1, 100), (100, TILE_ROWS - 1), (TILE_QUERIES, TILE_ROWS), (33, 50), (700, 513)],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_products_are_exact(n: int, m: int, width: int, threads: int) -> None:
    """Also of shapes that tiles do not divide, of odd widths, and of the largest values."""
    rng = np.random.default_rng(n * m + width)
    queries = rng.integers(-127, 128, (n, width)).astype(np.int8)
    rows = rng.integers(-127, 128, (m, width)).astype(np.int16)
    queries[0], rows[0], rows[-1] = 127, 127, -127
    out = np.full((n + 1, m), 77, np.int32)
    with computing_with(threads):
        word_products(queries, rows, out[:n])
    np.testing.assert_array_equal(out[:n], queries.astype(np.int64) @ rows.T.astype(np.int64))
    assert (out[n] == 77).all()


def test_they_pay_only_where_they_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLVM ends the process where the processor that it was told of lacks the instruction."""
    assert isinstance(words_pay(), bool)
    monkeypatch.setenv("NUMBA_CPU_NAME", "nocona")
    assert not words_pay.__wrapped__()
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "-avx2")
    assert not words_pay.__wrapped__()


def test_codes_take_them() -> None:
    """Rows that are stored as 16-bit codes are multiplied so, with results that are valid until the next call."""
    rng = np.random.default_rng(1)
    queries, rows = (rng.integers(-127, 128, (40, 64)).astype(np.int8) for _ in range(2))
    products = code_products(queries, torch.from_numpy(rows.astype(np.int16)))
    np.testing.assert_array_equal(products, queries.astype(np.int64) @ rows.T.astype(np.int64))
