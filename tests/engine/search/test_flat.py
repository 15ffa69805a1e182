"""The searches by products with all rows: how many candidates it takes, and blocks of queries."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from patchline.engine.search.flat import BLOCK_QUERIES, FaissSearch, TorchSearch
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.types import Floats
from tests.engine.search.indexes import features, plain


@pytest.mark.parametrize("make", [FaissSearch, TorchSearch])
def test_more_candidates_are_taken_where_products_cannot_tell_them_apart(
    make: Callable[[Floats], NearestNeighbours],
) -> None:
    """Rows that differ by less than products err by are proposed in any order; all that may be nearest are measured."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([1000 + 1e-3 * rng.random((300, 64)), np.zeros((1, 64))]).astype(np.float32)
    queries = rows[[3, 250, 300]]
    distances, nearest = make(rows).search(queries, 2)
    expected, order = plain(rows, queries, 2)
    np.testing.assert_array_equal(nearest[:, 0], [3, 250, 300])
    np.testing.assert_array_equal(nearest[:2], order[:2])
    np.testing.assert_allclose(distances, expected, rtol=1e-5)


def test_more_queries_than_a_block_are_answered_in_order() -> None:
    """Torch multiplies a block of queries at a time."""
    rows = features(40, 8, 1)
    queries = np.concatenate([features(BLOCK_QUERIES + 5, 8, 2), rows[7:9]])
    nearest = TorchSearch(rows).search(queries, 1)[1]
    np.testing.assert_array_equal(nearest, plain(rows, queries, 1)[1])
    assert nearest[-2:, 0].tolist() == [7, 8]


def test_frames_of_tensors_keep_their_shape() -> None:
    """The nearest row of every patch, frame by frame."""
    rows, frames = features(30, 8, 1), features(12, 8, 2)
    sq, nearest = TorchSearch(rows).farthest_of_frames(torch.from_numpy(frames).view(3, 4, 8), 1)
    expected, order = plain(rows, frames, 1)
    np.testing.assert_array_equal(nearest, order.reshape(3, 4))
    np.testing.assert_allclose(sq.sqrt(), expected.reshape(3, 4), rtol=1e-5)
