"""What a fit has made, as a table: the bank, its vital figures, and what its threshold promises."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

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
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for label, value in (
        ("recipe", bank.recipe.name),
        ("bank", f"{out} (generation {bank.generation}, SHA-256 {bank.sha256[:12]})"),
        ("images", count_groups(groups)),
        ("rows", f"{fitted.rows:,} of {fitted.patches:,} patches, {bank.rows.shape[1]} values each"),
        ("radius", f"{fitted.radius:.4g}: every patch of the fit lies within it of a row"),
        ("threshold", f"{fitted.threshold:.6g}: a frame that scores above it is rejected"),
        ("promise", fitted.promise),
        ("precision", "float32" if fitted.precision is None else str(fitted.precision)),
        ("time", f"{sum(stages_s.values()):.1f} s ({seconds})"),
    ):
        table.add_row(label, Text(value))  # as text: a name in brackets is no markup
    return table
