"""The width of codes is chosen by the work that it makes."""

import numpy as np

from patchline.engine.numerics.projection import principal_axes
from patchline.engine.search.code_width import WIDTH_ROWS, WIDTHS, best_width
from patchline.engine.types import Floats


def width_of(rows: Floats) -> int:
    centre = rows.mean(0, dtype=np.float64)
    return best_width(rows, principal_axes(rows - centre), centre)


def test_rows_of_few_directions_have_narrow_codes() -> None:
    """Where a few axes tell rows apart, wider codes would only cost more; where they do not, wider ones are chosen."""
    rng = np.random.default_rng(0)
    sheet = (rng.normal(size=(2000, 4)) @ rng.normal(size=(4, 150))).astype(np.float32)
    noise = rng.normal(size=(2000, 150)).astype(np.float32)
    assert width_of(sheet) == WIDTHS[0]
    assert width_of(noise) > WIDTHS[0]


def test_a_width_beyond_all_dimensions_is_not_tried() -> None:
    """Of rows of 20 dimensions nothing is gained by more than the narrowest codes."""
    assert width_of(np.random.default_rng(1).normal(size=(500, 20)).astype(np.float32)) == WIDTHS[0]


def test_a_sample_of_many_rows_decides() -> None:
    """Rows beyond the sample change nothing."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(2 * WIDTH_ROWS, 12)).astype(np.float32)
    centre, axes = rows.mean(0, dtype=np.float64), principal_axes(rows.astype(np.float64))
    assert best_width(rows, axes, centre) == best_width(rows[::2], axes, centre)
