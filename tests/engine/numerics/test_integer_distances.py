"""Squared distances between stored vectors are exact integers, and bounds in float32 rule out no row that counts."""

import numpy as np
import pytest
from numpy.typing import NDArray

from patchline.engine.numerics import integer_distances
from patchline.engine.numerics.integer_distances import (
    ScreenedRows,
    separated,
    sq_integer_pairs,
    sq_norms,
    sq_to_nearest,
)
from patchline.engine.types import Rows


def drawn(count: int, seed: int, largest: int = 32767, dimensions: int = 24) -> Rows:
    """Stored vectors, int16 (count, dimensions)."""
    return np.random.default_rng(seed).integers(-largest, largest + 1, (count, dimensions)).astype(np.int16)


def exact(patches: Rows, rows: Rows) -> NDArray[np.int64]:
    """All squared distances, in integers."""
    difference = patches[:, None].astype(np.int64) - rows
    return np.asarray((difference**2).sum(2))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that few vectors exceed."""
    monkeypatch.setattr(integer_distances, "ROW_BLOCK", 16)
    monkeypatch.setattr(integer_distances, "PATCH_BLOCK", 8)


@pytest.mark.parametrize("largest", [3, 32767])
def test_the_nearest_row_is_exact_and_the_lowest(largest: int, small_blocks: None) -> None:
    """Across blocks too, with and without the rows' lengths, where many rows are as near."""
    patches, rows = drawn(40, 1, largest, 4), drawn(50, 2, largest, 4)
    expected = exact(patches, rows)
    for norms in (None, sq_norms(rows)):
        sq, nearest = sq_to_nearest(patches, rows, norms)
        assert sq.tolist() == expected.min(1).tolist()
        assert nearest.tolist() == expected.argmin(1).tolist()


def test_without_rows_or_patches_there_is_no_nearest() -> None:
    """No row: infinitely far, number -1; no patch: nothing."""
    sq, nearest = sq_to_nearest(drawn(2, 1), drawn(0, 2))
    assert (sq.tolist(), nearest.tolist()) == ([np.inf, np.inf], [-1, -1])
    assert [len(part) for part in sq_to_nearest(drawn(0, 1), drawn(3, 2))] == [0, 0]


def test_pairs_and_lengths_are_exact() -> None:
    """Whatever the size of the values."""
    patches, rows = drawn(30, 1), drawn(30, 2)
    assert sq_integer_pairs(patches, rows).tolist() == exact(patches, rows).diagonal().tolist()
    assert sq_norms(rows).tolist() == exact(rows, np.zeros_like(rows[:1]))[:, 0].tolist()


@pytest.mark.parametrize("largest", [20, 32767])
def test_no_pair_within_a_distance_is_missed(largest: int, small_blocks: None) -> None:
    """Pairs come patch by patch; all that lie within are among them, and few others."""
    patches, rows = drawn(30, 3, largest), drawn(40, 4, largest)
    table = exact(patches, rows)
    limit = np.sort(table, axis=1)[:, 2].astype(np.float64)
    patch_of, row_of = ScreenedRows(rows, sq_norms(rows)).pairs_within(limit, patches, sq_norms(patches))
    found = set(zip(patch_of.tolist(), row_of.tolist(), strict=True))
    assert found >= set(zip(*(part.tolist() for part in np.nonzero(table <= limit[:, None])), strict=True))
    assert len(found) < 5 * len(patches)
    assert patch_of.tolist() == sorted(patch_of.tolist())
    nothing = ScreenedRows(rows, sq_norms(rows)).pairs_within(np.empty(0), patches[:0], np.empty(0))
    assert [len(part) for part in nothing] == [0, 0]


def test_upper_bounds_become_distances_and_lower_bounds_stay_below(small_blocks: None) -> None:
    """From the distance to any row to that to the nearest; lower bounds are nearly as large."""
    patches, rows = drawn(30, 5), drawn(40, 6)
    screened, least = ScreenedRows(rows, sq_norms(rows)), exact(patches, rows).min(1)
    bound = sq_integer_pairs(patches, rows[:30])
    assert screened.sq_below(bound, patches).tolist() == least.tolist()
    lower = screened.sq_at_least(patches, sq_norms(patches))
    assert (lower <= least).all()
    assert (lower > 0.99 * least).all()


def test_separated_rows_lie_apart_and_near_what_was_left(small_blocks: None) -> None:
    """First come first kept: a row goes only where a kept row before it lies within the radius, the radius included."""
    rows = drawn(70, 7, largest=4, dimensions=3)
    radius = 9
    kept = separated(rows, radius)
    table = exact(rows, rows)
    by_definition: list[int] = []
    for number in range(len(rows)):
        if all(table[number, other] > radius for other in by_definition):
            by_definition.append(number)
    assert kept.tolist() == by_definition
    assert 1 < len(kept) < 70
