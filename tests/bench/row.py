"""One figure as it is printed and kept: ours, the peer's, their ratio, and the goal for that ratio."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from tests.bench.loaded import Loaded
from tests.bench.timing import Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure. `ratio` says how many times better ours is than the peer's; the goal is met where it is no less.

    A figure without a goal is there to be looked at.

    `spread` holds the quartiles of the ratio over the interleaved repeats; both are the ratio itself where a figure
    has no noise (an accuracy, a radius). `peer_loaded` is what the peer had loaded, where it is a process of its own.
    """

    figure: str
    ours: float
    peer: float
    ratio: float
    goal: float | None
    unit: str
    spread: tuple[float, float]
    peer_loaded: Loaded | None = field(default=None, repr=False)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.ratio >= self.goal


INDIFFERENT = 0.01
"""By so much an average of chance may miss its goal, if it can be told at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageRow(Row):
    """A figure of chance, as which rows a coreset keeps: `spread` is the 95 % interval of the ratio of averages.

    Of two sides that are alike one is ahead by chance. So the goal is met where the interval reaches it, and is narrow
    enough to show that it is not missed by more than `INDIFFERENT`.
    """

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.spread[1] >= self.goal <= self.spread[0] + INDIFFERENT


def from_averages(
    figure: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    goal: float,
    unit: str,
    peer_loaded: Loaded | None = None,
) -> AverageRow:
    """A figure of chance from values of both sides; the interval is that of normal errors, to first order."""
    ratio = mean(ours) / mean(peer)
    error = ratio * math.hypot(*(_relative_error(values) for values in (ours, peer)))
    spread = (ratio - 1.96 * error, ratio + 1.96 * error)
    return AverageRow(
        figure=figure,
        ours=mean(ours),
        peer=mean(peer),
        ratio=ratio,
        goal=goal,
        unit=unit,
        spread=spread,
        peer_loaded=peer_loaded,
    )


def _relative_error(values: Sequence[float]) -> float:
    """Of their mean; 0 where there is but one."""
    return stdev(values) / math.sqrt(len(values)) / mean(values) if len(values) > 1 else 0.0


def from_times(
    figure: str,
    comparison: Comparison,
    *,
    goal: float | None,
    unit: str = "s",
    work: float | None = None,
    peer_loaded: Loaded | None = None,
) -> Row:
    """A figure of speed. With `work` (frames, say), ours and peer are given as work per second, else in seconds."""
    ours, peer = comparison.ours_s, comparison.peer_s
    return Row(
        figure=figure,
        ours=work / ours if work else ours,
        peer=work / peer if work else peer,
        ratio=comparison.ratio,
        goal=goal,
        unit=unit,
        spread=comparison.spread,
        peer_loaded=peer_loaded,
    )


def from_values(
    figure: str,
    ours: float,
    peer: float,
    *,
    goal: float | None,
    unit: str,
    less_is_better: bool = False,
    peer_loaded: Loaded | None = None,
) -> Row:
    """A figure without noise: ours over the peer's, or the other way round where less is better."""
    above, below = (peer, ours) if less_is_better else (ours, peer)
    ratio = above / below if below else math.inf
    return Row(
        figure=figure,
        ours=ours,
        peer=peer,
        ratio=ratio,
        goal=goal,
        unit=unit,
        spread=(ratio, ratio),
        peer_loaded=peer_loaded,
    )


def table(rows: Sequence[Row], title: str) -> Table:
    """The figures as a table."""
    result = Table(
        title=title,
        title_justify="left",
        caption=r"ratio: how many times better ours is; \[quartiles]; of averages \[95 % interval]",
    )
    for name in ("figure", "ours", "peer", "unit", "ratio", "goal", ""):
        result.add_column(name, justify="left" if name in ("figure", "unit", "") else "right")
    for row in rows:
        result.add_row(
            row.figure,
            f"{row.ours:.4g}",
            f"{row.peer:.4g}",
            row.unit,
            f"{row.ratio:.4g} [{row.spread[0]:.4g} … {row.spread[1]:.4g}]",
            "none" if row.goal is None else f">= {row.goal:g}",
            {True: "[green]met", False: "[red]missed", None: ""}[row.met],
        )
    return result


def merge(rows: Sequence[Row], path: Path, measured_on: Mapping[str, Any]) -> None:
    """Write the figures to a JSON list, in place of earlier ones of the same name on the same instruction sets.

    Each entry has the row's fields and `measured_on`: the processor, threads, what our side had loaded (`ours`) and
    what the peer had (`peer`, null where it is no process of its own). So what was measured on a narrower processor
    that was played stands beside what was measured on the whole one.
    """

    def identity(entry: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        return entry["figure"], tuple(entry.get("measured_on", {}).get("processor", {}).get("in_effect", ()))

    entries = {identity(entry): entry for entry in (json.loads(path.read_text()) if path.exists() else [])}
    for row in rows:
        entry = asdict(row)
        entry["measured_on"] = {**measured_on, "peer": entry.pop("peer_loaded")}
        entries[identity(entry)] = entry
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([entries[key] for key in sorted(entries)], indent=2) + "\n")
