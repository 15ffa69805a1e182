"""What is said of a fit: what the bank holds, the figures of its threshold, and what must not be overlooked."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from patchline.engine.bank.figures import Figures
from patchline.engine.bank.rates import frames_needed
from patchline.engine.fitting.fit import FitReport
from patchline.engine.fitting.folds import MOST_CALIBRATED
from patchline.ops.offline.findings import count_groups
from patchline.ops.offline.image_folder import plural, sample
from patchline.ops.offline.look_first import share_of
from patchline.stream.support.printable import one_line

NAMED = 3
"""Images that are named before the others are counted only."""


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
        *_look_first(fitted),
        ("time", f"{sum(stages_s.values()):.1f} s ({seconds})"),
    ):
        table.add_row(label, Text(value))  # as text: a name in brackets is no markup
    return table


def _look_first(fitted: FitReport) -> Iterator[tuple[str, str]]:
    """The oddest few images, each with its score as a share of the threshold."""
    if fitted.oddest:
        yield "look first", ", ".join(_odd(fitted)[:NAMED])
    if fitted.left_out:
        yield "left out", f"{len(fitted.left_out)} that looked contaminated: {sample(fitted.left_out, NAMED)}"


def _odd(fitted: FitReport, *, set_aside: bool = False) -> list[str]:
    return [
        f"{one_line(odd.name)} ({share_of(odd.score, fitted.threshold)} the threshold)"
        for odd in fitted.oddest
        if odd.set_aside or not set_aside
    ]


def set_aside_warning(fitted: FitReport, out: str, arguments: Sequence[str]) -> str | None:
    """What the fit has set aside, and the commands for a person who has looked; None where nothing was.

    Args:
        fitted: what was fitted.
        out: where the bank lies; another fit needs another place.
        arguments: of the command that made the fit.
    """
    aside = fitted.bank.set_aside
    if not aside:
        return None
    named = _odd(fitted, set_aside=True)[:NAMED] or [one_line(image.name) for image in aside[:NAMED]]
    more = f" and {len(aside) - len(named):,} more" if len(aside) > len(named) else ""
    rates = ""
    if fitted.figures.rates:
        good, defects = fitted.figures.rates
        rates = (
            f" The threshold is the largest score of the others: it rejects {good:.2g} of good frames if what was set "
            f"aside is good, {defects:.2g} if it is defects."
        )
    return (
        f"{plural(len(aside), 'image')} SET ASIDE, as defects look: {', '.join(named)}{more}. What is set aside gives "
        f"no rows, and counts as above the threshold, until you say what it is.{rates} The fit if it is defects, and "
        f"if it is good:\n"
        f"  {_again(out, arguments, 'without', '--exclude', 'all')}\n"
        f"  {_again(out, arguments, 'with', '--keep', 'all')}"
    )


def _again(out: str, arguments: Sequence[str], suffix: str, *more: str) -> str:
    """The command of another fit, to another place."""
    place = (out, f"--out={out}")
    other = [f"{argument.rstrip('/')}-{suffix}" if argument in place else argument for argument in arguments]
    return shlex.join(["patchline", *other, *more])


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
        counted = figures.groups + figures.set_aside
        had = f"{counted} good images"
        if figures.groups < figures.frames:
            had = f"{figures.frames} good images in {figures.groups} groups"
        if figures.set_aside:
            had += f", {figures.set_aside} of them set aside"
        added = []
        if calibration is None:
            added = ["--calibration", "FOLDER"]
            ways = f"{needed} further ones in FOLDER, for the threshold alone"
            if needed <= MOST_CALIBRATED:
                ways = f"{needed - counted} more than these, or {ways}"
            else:
                ways += f"; of those of the fit, {MOST_CALIBRATED} carry the threshold at most"
        else:
            ways = f"{needed - counted} more in {calibration}"
        yield (
            f"A FALSE-REJECT RATE OF {figures.asked:g} CANNOT BE AIMED AT with {had}: the threshold aims at "
            f"{figures.aimed:g}, the lowest that they can. {figures.asked:g} takes {needed} images: {ways}:\n"
            f"  {_again(out, arguments, f'{figures.asked:g}', *added)}"
        )
    yield from figures.warnings()
