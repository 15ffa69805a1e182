"""The least precision that holds and is worth it, by fits that are given."""

from dataclasses import replace

import pytest

from patchline.engine.errors import DeviceError, PrecisionError
from patchline.engine.fitting.fit import FitReport
from patchline.engine.fitting.lowest import WORTH, fit_lowest
from patchline.engine.fitting.precision import PrecisionCheck
from patchline.engine.recipe import Recipe


def check(precision: str, speed: float) -> PrecisionCheck:
    return PrecisionCheck(precision=precision, moved=0.1, changed=0, frames=10, speed=speed)


@pytest.mark.parametrize(
    ("outcomes", "taken", "says"),
    [
        ({"int8": WORTH, "bfloat16": 9.0}, "int8", []),
        ({"int8": PrecisionError("int8 moves"), "bfloat16": WORTH}, "bfloat16", ["int8 moves"]),
        ({"int8": WORTH - 0.1, "bfloat16": DeviceError("no bfloat16")}, "float32", ["not worth it", "no bfloat16"]),
    ],
    ids=["all hold", "int8 does not hold", "int8 gains too little"],
)
def test_the_first_that_holds_and_is_worth_it_is_taken(
    recipe: Recipe, fitted: FitReport, outcomes: dict[str, float | Exception], taken: str, says: list[str]
) -> None:
    """Each below it says why it was passed over; what is left is float32, which needs no reason."""
    asked = []

    def fit_in(stated: Recipe) -> FitReport:
        precision = stated.backbone.precision
        asked.append(precision)
        outcome = outcomes.get(precision)
        if isinstance(outcome, Exception):
            raise outcome
        return fitted if outcome is None else replace(fitted, precision=check(precision, outcome))

    report, passed_over = fit_lowest(recipe, fit_in)
    assert asked[-1] == taken
    assert (report.precision.precision if report.precision else "float32") == taken
    assert len(passed_over) == len(says)
    assert all(part in sentence for part, sentence in zip(says, passed_over, strict=True))
