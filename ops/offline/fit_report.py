"""What is said of a fit: what the bank holds, the figures of its threshold, and what must not be overlooked."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from patchline.engine.bank.calibration import frames_needed
from patchline.engine.bank.figures import Figures
from patchline.engine.fitting.fit import FitReport


def report_table(fitted: FitReport, out: str) -> Table:
    """The report of a fit whose bank lies at `out`."""
    bank = fitted.bank
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in fitted.seconds.items())
    folds = "" if bank.folds == 1 else f" in {bank.folds} folds"
    for label, value in (
        ("recipe", bank.recipe.name),
        ("bank", f"{out} (generation {bank.generation}, SHA-256 {bank.sha256[:12]})"),
        ("rows", f"{fitted.rows:,} of {fitted.patches:,} patches{folds}, {bank.rows.shape[1]} values each"),
        ("radius", f"{fitted.radius:.4g}: every patch of the fit lies within it of a row"),
        ("threshold", f"{fitted.threshold:.6g}: a frame that scores above it is rejected"),
        *fitted.figures.lines(),
        ("promise", fitted.promise),
        ("precision", "float32" if fitted.precision is None else str(fitted.precision)),
        ("time", f"{sum(fitted.seconds.values()):.1f} s ({seconds})"),
    ):
        table.add_row(label, value)
    return table


def fit_warnings(figures: Figures, out: str, calibration: Path | None, arguments: Sequence[str]) -> Iterator[str]:
    """What must not be overlooked of a fit, in sentences; with the command for a rate that was out of reach.

    Args:
        figures: of the threshold.
        out: where the bank lies; another fit needs another place.
        calibration: the folder of images for the threshold alone, where there was one.
        arguments: of the command that made the fit.
    """
    if figures.asked != figures.aimed:
        needed = frames_needed(figures.asked)
        had = f"{figures.groups} good images"
        if figures.groups < figures.frames:
            had = f"{figures.frames} good images in {figures.groups} groups"
        place = (out, f"--out={out}")
        again = [f"{argument}-{figures.asked:g}" if argument in place else argument for argument in arguments]
        more = needed - figures.groups
        if calibration is None:
            again += ["--calibration", "FOLDER"]
            ways = f"{more} more than these, or {needed} further ones in FOLDER, for the threshold alone"
        else:
            ways = f"{more} more in {calibration}"
        yield (
            f"A FALSE-REJECT RATE OF {figures.asked:g} CANNOT BE AIMED AT with {had}: the threshold aims at "
            f"{figures.aimed:g}, the lowest that they can. {figures.asked:g} takes {needed} images: {ways}:\n"
            f"  {shlex.join(['patchline', *again])}"
        )
    yield from figures.warnings()
