"""Projections: what they keep of distances."""

from pathlib import Path

import numpy as np
import pytest

from patchline.engine.numerics import projection
from patchline.engine.numerics.projection import (
    SAMPLE,
    johnson_lindenstrauss,
    principal_axes,
    sampled_axes,
    with_residual,
)


def test_axes_are_orthonormal_and_fall_in_variance() -> None:
    """The first axis is the direction of the largest spread."""
    rng = np.random.default_rng(0)
    centred = rng.normal(size=(500, 6)) * [1, 5, 2, 0.1, 3, 4]
    axes = principal_axes(centred)
    np.testing.assert_allclose(axes.T @ axes, np.eye(6), atol=1e-12)
    spread = (centred @ axes).std(0)
    assert (np.diff(spread) < 0).all()
    assert abs(axes[1, 0]) > 0.99


def test_axes_of_many_rows_are_those_of_a_sample() -> None:
    """About the centre that is given; rows beyond the sample change nothing."""
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(3 * SAMPLE, 3)) * [1, 4, 2] + 7).astype(np.float32)
    centre = np.full(3, 7.0)
    axes = sampled_axes(rows, centre)
    np.testing.assert_array_equal(axes, principal_axes(rows[::3].astype(np.float64) - centre))
    few = rows[:50]
    np.testing.assert_array_equal(sampled_axes(few, centre), principal_axes(few.astype(np.float64) - centre))


def test_points_with_residuals_lie_no_farther_apart() -> None:
    """They are as long as the vectors, and with all axes the residual is 0."""
    rng = np.random.default_rng(2)
    centred = rng.normal(size=(40, 8))
    sq_norms = (centred**2).sum(1)
    axes = principal_axes(centred)
    points = with_residual(centred, axes[:, :3], sq_norms)
    assert points.shape == (40, 4)
    np.testing.assert_allclose((points**2).sum(1), sq_norms)
    apart = np.linalg.norm(centred[:, None] - centred, axis=2)
    assert (np.linalg.norm(points[:, None] - points, axis=2) <= apart + 1e-9).all()
    np.testing.assert_allclose(with_residual(centred, axes, sq_norms)[:, -1], 0, atol=1e-6)


def test_random_directions_keep_distances_up_to_one_factor(tmp_path: Path) -> None:
    """The same for the same seed, in memory or in a file; the largest value fits in 16 bits."""
    vectors = np.random.default_rng(3).integers(-1000, 1000, (60, 300)).astype(np.int16)
    projected = johnson_lindenstrauss(vectors, 128, seed=5)
    assert (projected.shape, projected.dtype) == ((60, 128), np.dtype(np.int16))
    assert np.abs(projected.astype(int)).max() == 32767
    np.testing.assert_array_equal(johnson_lindenstrauss(vectors, 128, seed=5, file=tmp_path / "projected"), projected)
    assert not np.array_equal(johnson_lindenstrauss(vectors, 128, seed=6), projected)
    before = np.linalg.norm(vectors[:30].astype(float) - vectors[30:], axis=1)
    after = np.linalg.norm(projected[:30].astype(float) - projected[30:], axis=1)
    factor = after / before
    assert factor.std() < 0.15 * factor.mean()


def test_vectors_are_projected_a_share_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares change nothing."""
    vectors = np.random.default_rng(4).integers(-50, 50, (23, 10)).astype(np.int16)
    whole = johnson_lindenstrauss(vectors, 4, seed=0)
    monkeypatch.setattr(projection, "PROJECTED_VALUES", 70)
    np.testing.assert_array_equal(johnson_lindenstrauss(vectors, 4, seed=0), whole)
