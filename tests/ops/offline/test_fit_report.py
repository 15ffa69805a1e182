"""What a fit says: three figures that are never confused, and warnings with the command that helps."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.figures import Figures, figures_of
from patchline.ops.offline.fit_report import fit_warnings

ARGUMENTS = ["fit", "good parts", "--out", "banks/tile"]


def figures(aimed: float, asked: float) -> Figures:
    return figures_of(calibrate(np.arange(60.0), aimed), asked=asked, folds=5, unproved="Eq. 7")


def test_a_rate_in_reach_needs_no_warning() -> None:
    """Unless the threshold is the largest score of all."""
    assert list(fit_warnings(figures(0.05, 0.05), "banks/tile", None, ARGUMENTS)) == []
    (said,) = fit_warnings(figures(0.0164, 0.0164), "banks/tile", None, ARGUMENTS)
    assert said.startswith("one frame decides: the threshold is the largest of 60 held-out scores")


def test_a_rate_out_of_reach_comes_with_a_command() -> None:
    """How many images it takes, with further ones in the fit, or for the threshold alone; the bank goes elsewhere."""
    said, _ = fit_warnings(figures(0.0164, 0.01), "banks/tile", None, ARGUMENTS)
    assert said.splitlines() == [
        "A FALSE-REJECT RATE OF 0.01 CANNOT BE AIMED AT with 60 good images: the threshold aims at 0.0164, the "
        "lowest that they can. 0.01 takes 99 images: 39 more than these, or 99 further ones in FOLDER, for the "
        "threshold alone:",
        "  patchline fit 'good parts' --out banks/tile-0.01 --calibration FOLDER",
    ]
    given = [*ARGUMENTS[:2], "--out=banks/tile", "--calibration", "more"]
    said, _ = fit_warnings(figures(0.0164, 0.01), "banks/tile", Path("more"), given)
    assert "0.01 takes 99 images: 39 more in more:" in said
    assert said.endswith("  patchline fit 'good parts' --out=banks/tile-0.01 --calibration more")
    grouped = replace(figures(0.0164, 0.01), frames=180)
    assert "with 180 good images in 60 groups" in next(fit_warnings(grouped, "banks/tile", None, ARGUMENTS))


def test_a_rate_beyond_what_a_fits_own_images_carry_takes_further_ones() -> None:
    """More images in the fit would not help, and are not asked for."""
    said, _ = fit_warnings(figures(0.0164, 0.005), "banks/tile", None, ARGUMENTS)
    assert "199 further ones in FOLDER, for the threshold alone; of those of the fit, 100 carry the threshold" in said
    assert "more than these" not in said
