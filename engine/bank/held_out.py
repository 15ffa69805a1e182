"""Which good images a fit keeps out of the bank, so that the threshold rests on frames that the bank never saw."""

import numpy as np

from patchline.engine.bank.calibration import check_promise, frames_needed
from patchline.engine.errors import CalibrationError
from patchline.engine.recipe import Recipe

AT_LEAST = 0.2
AT_MOST = 0.5
"""Share of the good images that `fit` may hold out by itself."""


def draw_held_out(total: int, recipe: Recipe) -> frozenset[int]:
    """Positions, 0 to `total` - 1, of the good images to hold out, drawn by the recipe's seed.

    Known before any image is read: as many as the false-reject rate needs, at least a fifth, at most half.

    Raises:
        CalibrationError: the rate needs more than half of the images.
    """
    most = int(total * AT_MOST)
    needed = frames_needed(recipe.false_reject_rate)
    if needed > most:
        can = f"at most {most} of {total} good images are held out for calibration; "
        try:
            check_promise(most, recipe.false_reject_rate)
        except CalibrationError as error:
            raise CalibrationError(f"recipe {recipe.name!r}: {can}{error}") from None
    count = max(needed, round(total * AT_LEAST))
    return frozenset(np.random.default_rng(recipe.seed).permutation(total)[:count].tolist())
