"""The search in whole batches on a device, here on the CPU: bounds in float32 and in half precision."""

import numpy as np
import pytest
import torch

from patchline.engine.search.device import DeviceSearch
from tests.engine.search.indexes import features, plain


@pytest.mark.parametrize("half", [False, True])
def test_bounds_rule_out_most_rows_of_far_queries_too(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device few rows are measured, and queries far outside the range of half precision find their rows."""
    rows = features(4000, 152, 18)
    queries = np.concatenate([features(300, 152, 19), 1e4 * features(5, 152, 20)])
    index = DeviceSearch(rows, half=half)
    measured: list[int] = []
    sq = index._sq

    def counted(Q: torch.Tensor, query_of: torch.Tensor, row_of: torch.Tensor) -> torch.Tensor:
        measured.append(len(query_of))
        return sq(Q, query_of, row_of)

    monkeypatch.setattr(index, "_sq", counted)
    distances, nearest = index.search(queries[:300], 1)
    assert sum(measured) < 0.05 * 300 * len(rows)
    far = index.search(queries[300:], 3)
    index.add(100 * rows[:20])  # far outside the range that the first rows have
    np.testing.assert_array_equal(index.search(100 * rows[:20], 1)[1][:, 0], np.arange(4000, 4020))
    expected, order = plain(rows, queries, 3)
    np.testing.assert_allclose(distances, expected[:300, :1], rtol=1e-5)
    np.testing.assert_array_equal(nearest, order[:300, :1])
    np.testing.assert_allclose(far[0], expected[300:], rtol=1e-5)
