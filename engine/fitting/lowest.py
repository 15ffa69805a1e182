"""The least precision that costs nothing: int8, else bfloat16, else float32, by what fits in each of them measure."""

from collections.abc import Callable

from msgspec import structs

from patchline.engine.errors import DeviceError, PrecisionError
from patchline.engine.fitting.fit import FitReport
from patchline.engine.fitting.precision import in_float32
from patchline.engine.recipe import Recipe

WORTH = 1.2
"""Times as fast as float32 that a frame must be embedded on this machine; a precision that gains less is not taken."""


def fit_lowest(recipe: Recipe, fit_in: Callable[[Recipe], FitReport]) -> tuple[FitReport, list[str]]:
    """Fit in the least precision in which verdicts hold and that is worth it here.

    Args:
        recipe: in any precision.
        fit_in: fits a bank by a recipe; it is called for one precision after the other.

    Returns:
        What was fitted, and for each precision below it a sentence that says why it was not taken.
    """
    passed_over = []
    for precision in ("int8", "bfloat16"):
        asked = structs.replace(recipe, backbone=structs.replace(in_float32(recipe).backbone, precision=precision))
        try:
            report = fit_in(asked)
        except (PrecisionError, DeviceError) as error:
            passed_over.append(str(error))
            continue
        if report.precision is not None and report.precision.speed >= WORTH:
            return report, passed_over
        passed_over.append(f"{report.precision}: not worth it, as {WORTH:g} times as fast is expected")
    return fit_in(in_float32(recipe)), passed_over
