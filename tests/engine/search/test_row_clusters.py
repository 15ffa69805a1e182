"""Groups of rows: every row is in one, and those of a group lie near each other."""

import numpy as np
import pytest
import torch

from patchline.engine.search import row_clusters
from patchline.engine.search.row_clusters import RowGroups


def factors(count: int, seed: int) -> torch.Tensor:
    """Half (count, 16): -2 points of 6 dimensions in ten clusters, squared norms, zeros."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(10, 6))[rng.integers(0, 10, count)] * 8 + rng.normal(size=(count, 6)) * 0.1
    whole = np.zeros((count, 16))
    whole[:, :6], whole[:, 6] = -2 * points, np.square(points).sum(1)
    return torch.from_numpy(whole).half()


def members(groups: RowGroups) -> set[int]:
    return set(groups.members[: groups._used].flatten().tolist())


def test_every_row_is_in_a_group_of_near_ones() -> None:
    """Centres are means of their rows, and what is no group lies infinitely far."""
    rows = factors(700, 1)
    groups = RowGroups(rows, 700, 6)
    assert groups.size == 32
    assert members(groups) == set(range(700))
    assert torch.isinf(groups.centres[groups._used :, 6]).all()
    points = rows[:, :6].float()
    within = torch.stack([points[of.long()].var(0).sum() for of in groups.members[: groups._used]]).mean()
    assert within < 0.5 * points.var(0).sum()
    for number in range(groups._used):
        of = torch.unique(groups.members[number].long())
        torch.testing.assert_close(groups.centres[number, :6].float(), points[of].mean(0), rtol=0.1, atol=0.5)


def test_rows_that_join_make_groups_until_the_tree_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is left out on the way; groups grow by powers of two where rows are many."""
    monkeypatch.setattr(row_clusters, "GROUPS", 8)
    monkeypatch.setattr(row_clusters, "SMALLEST", 4)
    rows = factors(60, 2)
    first = RowGroups(rows, 20, 6)
    assert first.size == 4
    joined = first.add(rows, 20, 27)
    assert joined is first
    assert members(joined) == set(range(27))
    anew = joined.add(rows, 27, 60)
    assert anew is not first
    assert anew.size == 16
    assert members(anew) == set(range(60))
