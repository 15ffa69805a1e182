"""Unit round-offs."""

import numpy as np

from patchline.engine.numerics.rounding import DOUBLE_UNIT, HALF_UNIT, UNIT


def test_unit_round_offs_are_those_of_the_types() -> None:
    """Half the distance from 1 to the next number."""
    assert np.finfo(np.float32).eps / 2 == UNIT
    assert np.finfo(np.float16).eps / 2 == HALF_UNIT
    assert np.finfo(np.float64).eps / 2 == DOUBLE_UNIT
