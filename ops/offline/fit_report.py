"""What is said of a fit: what the bank holds, the figures of its threshold, and what must not be overlooked."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from patchline.engine.bank.calibration import frames_needed
from patchline.engine.bank.figures import Figures
from patchline.engine.fitting.fit import FitReport
from patchline.ops.offline.findings import count_groups


def fit_table(fitted: FitReport, out: str, groups: Sequence[int], look_s: float) -> Table:
    """The report of `patchline fit`.

    Args:
        fitted: what was fitted.
        out: folder or URL of the bank.
        groups: the number of each image's group.
        look_s: seconds that the first look at the images took.
    """
    bank = fitted.bank
    stages_s = {"look": look_s, **fitted.seconds}
    seconds = ", ".join(f"{stage} {value:.1f}" for stage, value in stages_s.items())
    folds = "" if bank.folds == 1 else f" in {bank.folds} folds"
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for label, value in (
        ("recipe", bank.recipe.name),
        ("bank", f"{out} (generation {bank.generation}, SHA-256 {bank.sha256[:12]})"),
        ("images", count_groups(groups)),
        ("rows", f"{fitted.rows:,} of {fitted.patches:,} patches{folds}, {bank.rows.shape[1]} values each"),
        ("radius", f"{fitted.radius:.4g}: every patch of the fit lies within it of a row"),
        ("threshold", f"{fitted.threshold:.6g}: a frame that scores above it is rejected"),
        *fitted.figures.lines(),
        ("promise", fitted.promise),
        ("precision", "float32" if fitted.precision is None else str(fitted.precision)),
        ("time", f"{sum(stages_s.values()):.1f} s ({seconds})"),
    ):
        table.add_row(label, Text(value))  # as text: a name in brackets is no markup
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
