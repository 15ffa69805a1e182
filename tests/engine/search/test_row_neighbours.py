"""The neighbours of a bank's own rows, on a device."""

import numpy as np
import pytest
import torch

from patchline.engine.search.device import DeviceSearch
from patchline.engine.search.row_neighbours import RowNeighbours
from tests.engine.conftest import KERNEL_DEVICE
from tests.engine.search.indexes import features


@pytest.mark.parametrize("rows", [5, 300])
def test_neighbours_of_rows_are_those_of_the_search(rows: int) -> None:
    """Ties to the lowest row; where more rows are alike than are proposed, it is said that nothing is proven."""
    values = torch.from_numpy(features(rows, 40, 14)).to(KERNEL_DEVICE)
    numbers = torch.tensor([0, 3, 3, rows - 1], device=KERNEL_DEVICE)
    around, proven = RowNeighbours(values).around(numbers, 5)
    _, expected = DeviceSearch(values.cpu().numpy(), KERNEL_DEVICE).nearest(values[numbers], 5)
    assert proven
    np.testing.assert_array_equal(around.cpu(), expected.cpu())
    alike = values[:1].repeat(100, 1)
    assert not RowNeighbours(alike).around(numbers[:2], 5)[1]
