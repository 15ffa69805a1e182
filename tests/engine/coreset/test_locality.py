import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.locality import strides


def frames(count: int, wide: int, dimensions: int, seed: int) -> NDArray[np.int16]:
    """Patches of square frames, row by row, that change little from one to those beside it, int16 (N, D)."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, wide, wide, dimensions))
    for axis in (1, 2):
        values = values + np.roll(values, 1, axis) + np.roll(values, 2, axis)
    return np.rint(300 * values).astype(np.int16).reshape(-1, dimensions)


def test_patches_beside_each_other_are_found() -> None:
    """Of frames of 20 patches a row: one patch on and one row on, both ways."""
    assert strides(frames(6, 20, 24, 0)) == (20, -20, 1, -1)


def test_an_order_that_says_nothing_gives_no_strides() -> None:
    """The same patches shuffled, equal vectors, and too few to tell."""
    patches = frames(6, 20, 24, 0)
    assert strides(np.random.default_rng(1).permutation(patches)) == ()
    assert strides(np.zeros((2000, 24), np.int16)) == ()
    assert strides(patches[:300]) == ()
