"""Codes of 8-bit integers: no row within reach is ruled out, and products are exact."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchline.engine.numerics.processor import AVX2, this_processor
from patchline.engine.numerics.projection import principal_axes
from patchline.engine.search.int8_codes import CodeSpace, code_dtype, code_products, exact_int8


def vectors(count: int, seed: int, size: float = 1.0) -> NDArray[np.float32]:
    """Vectors (count, 40), most of their spread in a few directions."""
    rng = np.random.default_rng(seed)
    spread = size * np.geomspace(30, 0.1, 40)
    return (rng.normal(size=(count, 40)) * spread + 7).astype(np.float32)


def space_of(rows: NDArray[np.float32], width: int = 20) -> CodeSpace:
    """A space for these rows on their own axes."""
    centre = rows.mean(0, dtype=np.float64)
    return CodeSpace(rows, principal_axes(rows - centre), centre, width)


def none_ruled_out(
    space: CodeSpace, rows: NDArray[np.float32], queries: NDArray[np.float32], ranks: Sequence[int]
) -> list[float]:
    """Assert that no row within the distance of each rank is ruled out; of each, the share of pairs that is left."""
    (codes, error), asked = space.rows(rows), space.queries(queries)
    products = code_products(asked.codes, torch.from_numpy(codes).to(code_dtype()))
    distances = np.sqrt(((queries[:, None].astype(np.float64) - rows) ** 2).sum(2))
    left: list[float] = []
    for rank in ranks:
        reach = np.sort(distances, axis=1)[:, rank]
        possible = products >= space.least(asked, reach, error)[:, None]
        assert possible[distances <= reach[:, None]].all()
        left.append(float(possible.mean()))
    return left


@pytest.mark.parametrize("far", [1.0, 3.0, 1000.0])
def test_no_row_within_reach_is_ruled_out(far: float) -> None:
    """A row's product is at least what its true distance asks for, also of queries outside the box."""
    rows, queries = vectors(500, 1), vectors(200, 2, far)
    space = space_of(rows)
    nearest, *_ = none_ruled_out(space, rows, queries, ranks=(0, 1, 20, 499))
    assert nearest < 0.2 or far > 10


def test_rows_outside_the_box_are_not_missed() -> None:
    """What their codes cannot say is part of their error, also where the digits cannot hold their norms."""
    rows = np.concatenate([vectors(500, 3), vectors(50, 4, 3.0), vectors(5, 4, 50.0)])
    queries = np.concatenate([vectors(100, 5), vectors(20, 6, 50.0)])
    space = space_of(rows[:500])
    assert space.rows(rows)[1] > 10 * space.rows(rows[:500])[1]
    none_ruled_out(space, rows, queries, ranks=(0, 5, 520))


def test_products_are_whole_numbers_without_saturation() -> None:
    """The largest sums come out exactly, with 8-bit products and where the processor has none."""
    rng = np.random.default_rng(5)
    queries = rng.integers(-127, 128, (33, 128)).astype(np.int8)
    rows = rng.integers(-127, 128, (64, 128)).astype(np.int8)
    queries[0], rows[0], rows[1] = 127, 127, -127
    expected = queries.astype(np.int64) @ rows.T.astype(np.int64)
    words = {torch.int16} if this_processor().has(AVX2) else set()
    for dtype in {code_dtype(), torch.float32} | words:
        np.testing.assert_array_equal(code_products(queries, torch.from_numpy(rows).to(dtype)), expected)


def test_who_wants_narrower_kernels_has_no_8_bit_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not heed what PyTorch is held to, so this machine would pass for one that has none."""
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert not exact_int8.__wrapped__()


@pytest.mark.parametrize("at_fault", ["saturates", "crawls", "is missing"])
def test_8_bit_products_that_do_not_serve_are_left_alone(at_fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that add two products in 16 bits, that multiply one by one, or that PyTorch refuses."""

    def faulty(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        if at_fault == "is missing":
            raise RuntimeError("not implemented")
        if at_fault == "crawls":
            time.sleep(0.1)
            return out.copy_(a.float() @ b.float())
        # As unsigned and signed numbers; what makes the first unsigned is taken off again.
        pairs = (len(b) // 2, 2)
        two = torch.einsum("npk,pkm->nmp", (a.float() + 128).view(-1, *pairs), b.float().reshape(*pairs, -1))
        return out.copy_(two.clamp(-(2**15), 2**15 - 1).sum(2) - 128 * b.float().sum(0))

    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr(torch, "_int_mm", faulty)
    assert not exact_int8.__wrapped__()


def test_rounding_of_products_is_allowed_for() -> None:
    """Long vectors that differ little: what float32 products lose is then more than their distances."""
    rng = np.random.default_rng(7)
    sheet = 1e4 * rng.normal(size=(300, 8)) @ rng.normal(size=(8, 700))
    rows = (sheet + rng.normal(size=sheet.shape)).astype(np.float32)
    queries = (rows[:100] + 0.01 * rng.normal(size=(100, 700))).astype(np.float32)
    space = space_of(rows, 64)
    none_ruled_out(space, rows, queries, ranks=(0, 3, 299))
    rounding = np.empty(len(rows), dtype=np.float32)
    points = space._points(rows, rounding)
    centred = rows.astype(np.float64) - space._centre
    exact = centred @ space._project._parts.flatten(0, 1)[:700, : space._inside].double().numpy()
    residual = np.sqrt(np.maximum((centred**2).sum(1) - (exact**2).sum(1), 0.0)) - space._middle
    moved = np.sqrt(((points[:, : space._inside] - exact) ** 2).sum(1) + (points[:, space._inside] - residual) ** 2)
    assert (moved <= rounding).all()
    assert (rounding > 0).all()
