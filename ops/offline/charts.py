"""The pictures of an evaluation: the ROC curve and the histogram of scores.

Names of recipes and of kinds of defect are drawn as they are: `$` begins no formula.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from patchline.engine.evaluation.metrics import GOOD, Roc

GOOD_COLOUR, DEFECT_COLOUR, THRESHOLD_COLOUR, GRID = "#2a6fb0", "#c8452f", "#222222", "#dddddd"
# Blue to red through colours that people with colour-blindness tell apart (Okabe and Ito).
KIND_COLOURS = ("#E69F00", "#D55E00", "#CC79A7", "#009E73", "#56B4E9", "#8c6d31", "#7f7f7f", "#F0E442")
SIZE_IN = (7.2, 4.6)
DPI = 150


def save_roc(path: Path, roc: Roc, auroc: float, *, at_threshold: tuple[float, float] | None, title: str) -> None:
    """Draw the ROC curve into a PNG.

    Args:
        path: the PNG.
        roc: the curve's points.
        auroc: the area under it, for the legend.
        at_threshold: false-reject and detection rate at the bank's own threshold; None: no point is marked.
        title: above the chart.
    """
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":", label="chance")
    axes.fill_between(roc.false_reject_rate, roc.detection_rate, step=None, color=GOOD_COLOUR, alpha=0.10, linewidth=0)
    axes.plot(roc.false_reject_rate, roc.detection_rate, color=GOOD_COLOUR, linewidth=2, label=f"area {auroc:.4f}")
    if at_threshold is not None:
        false_rejects, detected = at_threshold
        axes.plot(
            [false_rejects],
            [detected],
            "o",
            color=DEFECT_COLOUR,
            markersize=8,
            zorder=5,
            clip_on=False,
            label=f"threshold: {_to_percent(false_rejects)} of good rejected,\n"
            f"{_to_percent(detected)} of defective found",
        )
    axes.set(xlim=(-0.01, 1.0), ylim=(0, 1.01), aspect="equal")
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("good frames rejected (share)")
    axes.set_ylabel("defective frames rejected (share)")
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=True, framealpha=0.95, edgecolor=GRID)
    figure.savefig(path, dpi=DPI)


def save_score_histogram(
    path: Path, scores: NDArray[np.float64], kinds: Sequence[str], threshold: float, *, title: str
) -> None:
    """Draw a histogram of scores into a PNG: good frames above, defective ones by kind below, and the threshold.

    Args:
        path: the PNG.
        scores: anomaly scores, (N,).
        kinds: `good` or the kind of defect, of each score.
        threshold: a frame that scores above it is rejected.
        title: above the chart.
    """
    names = np.asarray(kinds, dtype=object)
    defects = sorted(set(kinds) - {GOOD})
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    bins = _bins(scores, threshold)
    above.hist(scores[names == GOOD], bins=bins, color=GOOD_COLOUR, alpha=0.9)
    above.set_title(f"{title}: good ({int((names == GOOD).sum())})", fontsize=10, loc="left", parse_math=False)
    if defects:
        colours = [KIND_COLOURS[i % len(KIND_COLOURS)] for i in range(len(defects))]
        labels = [f"{kind} ({int((names == kind).sum())})" for kind in defects]
        below.hist([scores[names == kind] for kind in defects], bins=bins, stacked=True, color=colours)
        # Handles and labels are given, as a legend of its own leaves out what begins with an underscore.
        columns = 1 + len(defects) // 7
        style = {"fontsize": 8, "frameon": True, "edgecolor": GRID, "loc": "upper right", "ncols": columns}
        for text in below.legend(below.containers, labels, **style).get_texts():
            text.set_parse_math(False)
    below.set_title(f"defective ({int((names != GOOD).sum())})", fontsize=10, loc="left")
    below.set_xlabel("anomaly score (L2 distance in the embedding space)")
    for axes, name in ((above, names == GOOD), (below, names != GOOD)):
        axes.axvline(threshold, color=THRESHOLD_COLOUR, linewidth=1.4, linestyle="--")
        axes.set_ylabel("frames")
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.yaxis.get_major_locator().set_params(integer=True)
        rejected = scores[name] > threshold
        _label_sides(axes, threshold, passed=int((~rejected).sum()), rejected=int(rejected.sum()))
    figure.savefig(path, dpi=DPI)


def _label_sides(axes: "object", threshold: float, *, passed: int, rejected: int) -> None:
    """How many frames lie on either side of the threshold, beside its line."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)  # noqa: S101 - for the type checker: matplotlib types subplots() loosely
    _, top = axes.get_ylim()
    axes.set_ylim(0, top * 1.18)
    at = axes.get_xaxis_transform()
    style: Mapping[str, object] = {"transform": at, "va": "top", "fontsize": 8, "color": THRESHOLD_COLOUR}
    axes.text(threshold, 0.97, f"{passed} pass  ", ha="right", **style)  # type: ignore[arg-type]  # a mapping of kinds
    axes.text(threshold, 0.97, f"  {rejected} reject", ha="left", **style)  # type: ignore[arg-type] # stubs are narrower


def _bins(scores: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Even bins with one edge at the threshold, so that no bar lies on both sides of it."""
    low, high = min(float(scores.min()), threshold), max(float(scores.max()), threshold)
    width = (high - low) / 50 or max(abs(threshold), 1.0) / 50
    left, right = int(np.ceil((threshold - low) / width)) + 1, int(np.ceil((high - threshold) / width)) + 1
    return np.asarray(threshold + width * np.arange(-left, right + 1), dtype=np.float64)


def _to_percent(value: float) -> str:
    return f"{100 * value:.1f} %"
