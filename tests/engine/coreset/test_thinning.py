"""Thinning: the core doubles its radius until it fits, and other rows fill three quarters of the budget."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchline.engine.coreset import thinning
from patchline.engine.coreset.thinning import doubled, refill_steps
from patchline.engine.numerics.steps import finish
from patchline.engine.types import Rows


def line(*values: int) -> Rows:
    return np.array(values, dtype=np.int16)[:, None]


def plain_refill(rows: Rows, core: list[int], wanted: int) -> list[int]:
    """Farthest first by definition, the lowest of equals, until so many stay or all others equal one that does."""
    values, stay = rows.astype(np.int64), list(core)
    while len(stay) < wanted:
        sq = ((values[:, None] - values[stay][None]) ** 2).sum(2).min(1)
        if sq.max() == 0:
            break
        stay.append(int(sq.argmax()))
    return sorted(stay)


def test_the_radius_doubles_until_the_core_fits() -> None:
    """Squared it grows by four; a row stays if it lies farther than the new radius from all before it that stay."""
    rows = line(0, 3, 6, 9, 12, 40)
    core, sq_radius = doubled(rows, np.arange(6), 4, 3)
    assert (core.tolist(), sq_radius) == ([0, 3, 5], 64)
    core, sq_radius = doubled(rows, np.arange(6), 4, 4)
    assert (core.tolist(), sq_radius) == ([0, 2, 4, 5], 16)
    same, sq_radius = doubled(rows, np.arange(6), 4, 6)
    assert (same.tolist(), sq_radius) == (list(range(6)), 4)
    assert doubled(line(0, 0, 5), np.arange(3), 0, 2)[1] == 1


@pytest.mark.parametrize("block", [512, 2])
@given(seed=st.integers(0, 300), spread=st.sampled_from([2, 5, 300]), budget=st.integers(4, 24))
def test_other_rows_stay_farthest_first(block: int, seed: int, spread: int, budget: int) -> None:
    """Those that stay are the core and the farthest from it, to three quarters of the budget, as by definition."""
    rows = np.random.default_rng(seed).integers(-spread, spread, (24, 2)).astype(np.int16)
    core: NDArray[np.int64] = np.array([0, 7])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(thinning, "REFILL_BLOCK", block)
        stay = finish(refill_steps(rows, core, budget))
    assert stay.tolist() == plain_refill(rows, core.tolist(), budget - budget // 4)


def test_a_core_that_fills_its_share_stays_alone() -> None:
    """Nothing joins a core of three quarters of the budget or more."""
    rows = line(0, 10, 20, 30, 40)
    assert finish(refill_steps(rows, np.array([0, 2, 4]), 4)).tolist() == [0, 2, 4]
