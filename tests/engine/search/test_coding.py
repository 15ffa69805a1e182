"""Compiled passes that make codes: what numpy makes of the definitions."""

import numpy as np
import pytest

from patchline.engine.search.coding import add_residuals, centre_parts, round_to_codes


@pytest.mark.parametrize(("groups", "depth"), [(1, 70), (1, 72), (2, 70), (3, 72)])
def test_vectors_are_centred_and_filled_up(groups: int, depth: int) -> None:
    """Beyond their own values there are zeros, and squared norms are those of what is left of them."""
    rng = np.random.default_rng(groups)
    vectors, centre = (rng.normal(size=shape).astype(np.float32) for shape in ((9, 70), (70,)))
    centred, sq_sizes = np.full((9, depth), 7, np.float32), np.empty(9)
    centre_parts(vectors, centre, groups, centred, sq_sizes)
    np.testing.assert_array_equal(centred[:, :70], vectors - centre)
    assert not centred[:, 70:].any()
    np.testing.assert_allclose(sq_sizes, np.square((vectors - centre).astype(np.float64)).sum(1), rtol=1e-6)


def test_residuals_are_what_is_off_the_axes() -> None:
    """Beside the values on the axes stands sqrt(|x|^2 - |Px|^2), less the middle; it is 0 where rounding says less."""
    points = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    points[:, 10:] = 0
    sq_within, before = np.square(points[:, :10].astype(np.float64)).sum(1), points.copy()
    sq_sizes, rounding = sq_within + np.array([4.0, 0.25, 0.0, -1e-9, 9.0]), np.empty(5, np.float32)
    add_residuals(points, 10, sq_sizes, 0.5, 1e-3, 1e-4, 1e-5, rounding)
    np.testing.assert_allclose(points[:, 10], [1.5, 0.0, -0.5, -0.5, 2.5], atol=1e-6)
    np.testing.assert_array_equal(np.delete(points, 10, 1), np.delete(before, 10, 1))
    size, outside = np.sqrt(sq_sizes), np.array([2.0, 0.5, 1e-30, 1e-30, 3.0])
    expected = np.minimum(size * 1e-2, sq_sizes * 1e-4 / outside) + size * 1.01e-3
    np.testing.assert_allclose(rounding, expected, rtol=1e-5)


def test_values_are_rounded_and_moved_into_the_box() -> None:
    """Halves go to the even number; how far each step moves a point is measured, and what follows does not count."""
    points = np.zeros((3, 16), np.float32)
    points[0, :4] = [1.0, -3.0, 2.5, 0.2]
    points[1, :4] = [300.0, -254.0, -260.0, 1.0]
    points[:, 4:] = 77
    codes, (sq, error, beyond) = np.empty((3, 7), np.int8), np.empty((3, 3), np.float32)
    round_to_codes(points, 2.0, 127, 3, codes, sq, error, beyond)
    np.testing.assert_array_equal(codes[:, :4], [[0, -2, 1, 0], [127, -127, -127, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(codes[:, 4:], [[1, 127, 127]] * 3)
    np.testing.assert_array_equal(sq, [5, 3 * 127**2, 0])
    np.testing.assert_allclose(error, [2 * np.sqrt(0.25 + 0.25 + 0.0625 + 0.01), 1.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(beyond, [0.0, 2 * np.sqrt(23.0**2 + 3.0**2), 0.0], rtol=1e-6)
