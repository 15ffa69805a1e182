"""Admission: the farthest patch first, whatever is known of distances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchline.engine.coreset import admission
from patchline.engine.coreset.admission import admit
from patchline.engine.types import Rows


def plain(patches: Rows, rows: Rows, sq_radius: int, most: int) -> list[int]:
    """By definition: while one lies farther than the radius, the farthest joins, the lowest of equals."""
    values = patches.astype(np.int64)
    sq = ((values[:, None] - rows.astype(np.int64)[None]) ** 2).sum(2).min(1)
    joined: list[int] = []
    while len(joined) < most and sq.max(initial=-1) > sq_radius:
        best = int(sq.argmax())
        joined.append(best)
        sq = np.minimum(sq, ((values - values[best]) ** 2).sum(1))
    return joined


def exact(patches: Rows, rows: Rows) -> NDArray[np.float64]:
    return np.asarray(((patches[:, None].astype(np.float64) - rows[None]) ** 2).sum(2).min(1))


@pytest.mark.parametrize("held", [2**22, 40, 1])
@given(
    seed=st.integers(0, 500), spread=st.sampled_from([2, 8, 300]), radius=st.integers(0, 40), most=st.integers(0, 30)
)
def test_patches_join_as_by_definition(held: int, seed: int, spread: int, radius: int, most: int) -> None:
    """By exact distances, and by bounds that are too high by any amount, however few distances are held at a time."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(-spread, spread, (24, 3)).astype(np.int16)
    rows = rng.integers(-spread, spread, (4, 3)).astype(np.int16)
    expected = plain(patches, rows, radius, most)
    sq = exact(patches, rows)
    upper = sq + rng.integers(0, 3 * spread, len(sq)) * rng.integers(0, 2, len(sq))
    asked: list[int] = []

    def measure(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.extend(numbers.tolist())
        return sq[numbers]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(admission, "HELD_VALUES", held)
        assert admit(patches, sq, radius, most).tolist() == expected
        assert admit(patches, upper, radius, most, measure).tolist() == expected
    assert len(asked) == len(set(asked))


def test_only_what_may_join_is_measured() -> None:
    """A patch whose bound lies within the radius is never asked about, nor one that a joined patch is near to."""
    patches = np.array([[0], [100], [101], [50]], dtype=np.int16)
    asked: list[int] = []

    def measure(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.extend(numbers.tolist())
        return np.array([0.0, 1e4, 10201.0, 2500.0])[numbers]

    joined = admit(patches, np.array([4.0, 1e4, 10201.0, 2500.0]), 4, 9, measure)
    assert joined.tolist() == [2, 3]
    assert sorted(asked) == [2, 3]


def test_nothing_joins_where_nothing_is_far() -> None:
    """At the radius a patch stays out; none of none joins."""
    patches = np.array([[2]], dtype=np.int16)
    assert admit(patches, np.array([4.0]), 4, 9).tolist() == []
    assert admit(patches, np.array([4.0]), 3, 9).tolist() == [0]
    assert admit(patches, np.array([4.0]), 3, 0).tolist() == []
    empty = admit(patches[:0], np.zeros(0), 0, 9)
    assert empty.dtype == np.dtype(np.int64)
    assert not len(empty)
