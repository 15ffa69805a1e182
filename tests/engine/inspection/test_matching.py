"""A bank and its backbone belong together, or no frame is compared."""

from dataclasses import replace

import numpy as np
import pytest

from patchline.engine.errors import RecipeError
from patchline.engine.fitting.fit import FitReport
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.inspection.matching import kind_of


def test_a_bank_that_its_backbone_does_not_make_is_refused(fitted: FitReport) -> None:
    """Rows of other dimensions, or of another grid: said when it is opened, not when the first frame comes."""
    bank = fitted.bank
    assert Inspector({"texture": bank}, device="cpu").recipes["texture"] is bank
    narrow = replace(bank, rows=bank.rows[:, :100].copy())
    with pytest.raises(
        RecipeError, match=r"grid \(16, 16\) of 100 values each; expected \(16, 16\) and 192, as backbone"
    ):
        Inspector({"texture": narrow}, device="cpu")
    patch = np.minimum(bank.row_patch, 63).astype(np.int32)
    with pytest.raises(RecipeError, match=r"recipe 'texture': the bank has patches on the grid \(8, 8\) of 192 values"):
        Inspector({"texture": replace(bank, grid=(8, 8), row_patch=patch)}, device="cpu")


def test_generations_of_a_recipe_are_of_one_kind(fitted: FitReport) -> None:
    """A later generation has other rows and another threshold; nothing else of the recipe changes."""
    bank = fitted.bank
    assert kind_of(replace(bank, generation=2, rows=bank.rows[:9], row_frame=bank.row_frame[:9],
                           row_patch=bank.row_patch[:9])) == kind_of(bank)  # fmt: skip
    others = [
        replace(bank, scale=bank.scale * 2),
        replace(bank, grid=(bank.grid[0] * 2, bank.grid[1])),
        replace(bank, rows=bank.rows[:, :9].copy()),
        replace(bank, folds=bank.folds + 1),
    ]
    assert all(kind_of(other) != kind_of(bank) for other in others)
