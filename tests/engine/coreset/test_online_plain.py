"""The rows of a bank that outgrows its budget are those of the doubling algorithm, written down plainly."""

from collections.abc import Sequence

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset, begin
from patchline.engine.types import Rows
from tests.engine.coreset.test_thinning import plain_refill
from tests.engine.online_worlds import sq_distances


class PlainCoreset:
    """Rows, which of them are the core, and the squared radius; a patch joins at a time."""

    def __init__(self, first: OnlineCoreset) -> None:
        self.rows = [row.astype(np.int64) for row in first.rows]
        self.core = list(range(len(self.rows)))
        self.sq_first = self.sq_radius = first.sq_admission
        self.budget = first.budget

    def learn(self, patches: Rows) -> None:
        """The farthest from the core joins it, while one lies beyond the radius; then others that the rows lack."""
        while (joins := farthest(patches, [self.rows[n] for n in self.core], self.sq_radius)) is not None:
            self.core.append(len(self.rows))
            self.rows.append(patches[joins].astype(np.int64))
            if len(self.core) > self.budget:
                self._thin()
        if self.sq_radius > self.sq_first:
            while (joins := farthest(patches, self.rows, self.sq_first)) is not None:
                self.rows.append(patches[joins].astype(np.int64))
            if len(self.rows) > self.budget:
                self._thin()

    def _thin(self) -> None:
        """The radius doubles while more are in the core than the budget; others stay, farthest first."""
        while len(self.core) > self.budget:
            self.sq_radius *= 4
            self.core = []
            for n, row in enumerate(self.rows):
                if all(((row - self.rows[kept]) ** 2).sum() > self.sq_radius for kept in self.core):
                    self.core.append(n)
        stay = plain_refill(np.array(self.rows), self.core, self.budget - self.budget // 4)
        self.rows, self.core = [self.rows[n] for n in stay], [stay.index(n) for n in self.core]


def farthest(patches: Rows, rows: Sequence[object], sq_radius: float) -> int | None:
    """The patch farthest from all rows, the lowest of equals; None where none lies beyond the radius."""
    sq = sq_distances(patches, np.array(rows)).min(1)
    return int(sq.argmax()) if sq.max() > sq_radius else None


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), budget=st.integers(3, 9))
@example(seed=8, budget=5)
@example(seed=49, budget=9)
@example(seed=58, budget=3)
def test_a_bank_that_outgrows_its_budget_doubles_its_radius_as_by_definition(seed: int, budget: int) -> None:
    """As soon as a row more than the budget would be kept, and not farther: the rows are the same to the last one."""
    rng = np.random.default_rng(seed)
    rows, numbers = np.array([[0, 0], [100, 0], [0, 100]], dtype=np.int16), np.arange(3, dtype=np.int32)
    state = begin(rows, np.zeros(3, np.int32), numbers, ("fit",), sq_covering=100**2, budget=budget)
    plain = PlainCoreset(state)
    for name in ("first", "second"):
        patches = rng.integers(-600, 600, (int(rng.integers(5, 40)), 2)).astype(np.int16)
        state, _ = learn(state, name, patches)
        plain.learn(patches)
        assert state.sq_admission == plain.sq_radius
        assert state.rows.tolist() == np.array(plain.rows).tolist()
        assert state.core.tolist() == plain.core
