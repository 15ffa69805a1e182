"""Rows as they change: row numbers before and after, and arrays that grow without copies."""

import numpy as np

from patchline.engine.coreset.rows import Delta, GrowingRows
from patchline.engine.types import Rows


def values(count: int, start: int = 0) -> Rows:
    return np.arange(start, start + 2 * count, dtype=np.int16).reshape(count, 2)


def test_a_change_counts_what_joined_and_left() -> None:
    """Of five rows three stayed and four joined."""
    delta = Delta(np.array([0, 2, 4]), 5, 7)
    assert (delta.added, delta.removed) == (4, 2)
    none = Delta.none(3)
    assert (none.kept.tolist(), none.added, none.removed) == ([0, 1, 2], 0, 0)


def test_changes_follow_each_other_as_one() -> None:
    """What joined in the first and left in the second is neither; what stayed in both keeps its first number."""
    first = Delta(np.array([1, 2, 4]), 5, 6)  # three of five stayed, three joined
    second = Delta(np.array([0, 2, 3, 5]), 6, 9)
    both = first.then(second)
    assert (both.kept.tolist(), both.before, both.after) == ([1, 4], 5, 9)
    assert (both.added, both.removed) == (7, 3)
    assert first.then(Delta.none(6)).kept.tolist() == [1, 2, 4]


def test_the_first_to_grow_takes_the_room() -> None:
    """It shares the array; another that starts from the same rows copies, and neither changes the other."""
    rows = GrowingRows(values(4)).with_more(values(2, 100))
    assert len(rows.values) == 6
    one = rows.with_more(values(1, 200))
    other = rows.with_more(values(2, 300))
    assert np.shares_memory(one.values, rows.values)
    assert not np.shares_memory(other.values, rows.values)
    assert one.values.tolist() == [*rows.values.tolist(), [200, 201]]
    assert other.values.tolist() == [*rows.values.tolist(), [300, 301], [302, 303]]
    assert rows.values.tolist() == [*values(4).tolist(), [100, 101], [102, 103]]
    again = one.with_more(values(1, 400))
    assert np.shares_memory(again.values, rows.values)
    assert one.values.tolist()[-1] == [200, 201]


def test_room_is_made_for_half_as_many_more() -> None:
    """Six rows leave room for three: the third fits, the fourth is copied elsewhere; no new row is no new array."""
    rows = GrowingRows(values(4)).with_more(values(2))
    full = rows.with_more(values(3, 50))
    assert np.shares_memory(full.values, rows.values)
    more = full.with_more(values(1, 70))
    assert not np.shares_memory(more.values, rows.values)
    assert more.values.tolist() == [*full.values.tolist(), [70, 71]]
    assert rows.with_more(values(0)) is rows
