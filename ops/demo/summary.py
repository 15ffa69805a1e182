"""The summary: what the run came to, as a structure for JSON and as tables for people."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from patchline.ops.demo.defects import Kind
from patchline.ops.demo.tally import CONTRAST_EDGES, LIGHTS, Found, Outcome, Tally, contrast_band


def summary(tally: Tally, dropped: int) -> dict[str, Any]:
    """Everything that was counted. Rates are shares of 1, or None where nothing was counted or no truth is known."""
    truth = tally.truth_known
    return {
        "frames": tally.frames,
        "dropped": dropped,
        "not_inspected": tally.outcomes[Outcome.NOT_INSPECTED],
        "rejects": tally.rejects,
        "truth_known": truth,
        "good_frames": tally.good if truth else None,
        "defective_frames": tally.defective if truth else None,
        "caught": tally.outcomes[Outcome.CAUGHT] if truth else None,
        "escapes": tally.outcomes[Outcome.ESCAPE] if truth else None,
        "false_rejects": tally.outcomes[Outcome.FALSE_REJECT] if truth else None,
        "false_reject_rate": _rate(tally.outcomes[Outcome.FALSE_REJECT], tally.good) if truth else None,
        "escape_rate": _rate(tally.outcomes[Outcome.ESCAPE], tally.defective) if truth else None,
        "by_camera": {
            camera: {str(outcome): count for outcome, count in sorted(counts.items())}
            for camera, counts in sorted(tally.by_camera.items())
        },
        "by_light": _lights(tally) if truth else [],
        "learned": {recipe: asdict(learned) for recipe, learned in sorted(tally.learned.items())},
        "by_contrast": _rows(_contrast_bands(), tally.by_contrast) if truth else [],
        "by_kind": _rows([kind.value for kind in Kind], tally.by_kind) if truth else [],
        "seconds": round(tally.seconds, 2),
        "frames_per_s": round(tally.frames_per_s, 2),
        "latency_ms": {"p50": round(tally.latency_ms(0.5), 1), "p99": round(tally.latency_ms(0.99), 1)},
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def tables(tally: Tally, dropped: int, *, promised: float, rate: float) -> RenderableType:
    """The summary for the terminal.

    Args:
        tally: outcomes against the truth, where it is known.
        dropped: frames that were not inspected because the engine was busy.
        promised: the false-reject rate that was asked for.
        rate: the line's pace in frames a second; 0 where it is not known.
    """
    counts = Table(title="Summary", show_header=False, title_justify="left", box=None, padding=(0, 2))
    counts.add_column(style="dim")
    counts.add_column(justify="right", style="bold")
    counts.add_column()
    for row in _count_rows(tally, dropped, promised, rate):
        counts.add_row(*row)
    if not tally.truth_known:
        return Group(counts, Text("No truth is known for these frames: rejects cannot be told from false rejects."))
    return Group(
        counts,
        _found_table("Defects in view, by contrast", _contrast_bands(), tally.by_contrast),
        _found_table("Defects in view, by kind", [kind.value for kind in Kind], tally.by_kind),
        Text(
            "A defect is in view of two successive frames and counts in each. Contrast is its share in the blend: 0.05 "
            "is invisible, 1 covers the material.",
            style="dim",
        ),
    )


def _count_rows(tally: Tally, dropped: int, promised: float, rate: float) -> list[tuple[str, str, str]]:
    rows = [("frames", str(tally.frames), f"in {tally.seconds:.1f} s")]
    if dropped:
        rows.append(("dropped", str(dropped), "not inspected: a fresher frame came"))
    rows.append(("rejects", str(tally.rejects), ""))
    if tally.truth_known:
        false, missed = tally.outcomes[Outcome.FALSE_REJECT], tally.outcomes[Outcome.ESCAPE]
        rows += [
            ("escapes", str(missed), f"of {tally.defective} defective frames{_percent(missed, tally.defective)}"),
            (
                "false rejects",
                str(false),
                f"of {tally.good} good frames{_percent(false, tally.good)}; asked for: {promised:.1%} on average",
            ),
        ]
    rows += [
        ("", f"{row['false_reject_rate']:.1%}", f"{row['light']}: {row['false_rejects']} of {row['good_frames']}")
        for row in (_lights(tally) if tally.truth_known else [])
        if len(tally.by_light) > 1 and row["good_frames"]
    ]
    if tally.learned:
        taught = tally.learned.values()
        generations = ", ".join(f"{recipe} {learned.generation}" for recipe, learned in sorted(tally.learned.items()))
        rows.append(
            (
                "taps",
                str(sum(learned.taps for learned in taught)),
                f"rows added: {sum(learned.rows_added for learned in taught)}; generations: {generations}",
            )
        )
        if held := sum(learned.held for learned in taught):
            rows.append(("held", str(held), "for a second person: they would hide a known defect"))
    if tally.outcomes[Outcome.NOT_INSPECTED]:
        rows.append(("not inspected", str(tally.outcomes[Outcome.NOT_INSPECTED]), ""))
    pace = f"the line's pace is {rate:g}" if rate else "as fast as they came"
    rows += [
        ("throughput", f"{tally.frames_per_s:.1f} frames/s", pace),
        ("latency", f"{tally.latency_ms(0.5):.0f} ms", f"median; 99 % within {tally.latency_ms(0.99):.0f} ms"),
    ]
    return rows


def _found_table(title: str, names: list[str], found: dict[str, Found]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    table.add_column("")
    for heading in ("planted", "rejected", "escaped"):
        table.add_column(heading, justify="right")
    table.add_column("share rejected")
    for row in _rows(names, found):
        share = row["rejected"] / row["planted"] if row["planted"] else 0.0
        bar = f"{'█' * round(20 * share):<20} {share:>4.0%}" if row["planted"] else ""
        table.add_row(row["name"], str(row["planted"]), str(row["rejected"]), str(row["escaped"]), bar)
    return table


def _rows(names: list[str], found: dict[str, Found]) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        one = found.get(name, Found())
        rows.append(
            {"name": name, "planted": one.planted, "rejected": one.rejected, "escaped": one.planted - one.rejected}
        )
    return rows


def _lights(tally: Tally) -> list[dict[str, Any]]:
    rows = []
    for light in LIGHTS.values():
        outcomes = tally.by_light.get(light, Counter())
        false, good = outcomes[Outcome.FALSE_REJECT], outcomes[Outcome.FALSE_REJECT] + outcomes[Outcome.PASS]
        rows.append(
            {
                "light": light,
                "good_frames": good,
                "false_rejects": false,
                "false_reject_rate": _rate(false, good),
                "escapes": outcomes[Outcome.ESCAPE],
                "caught": outcomes[Outcome.CAUGHT],
            }
        )
    return rows


def _contrast_bands() -> list[str]:
    return [contrast_band(edge) for edge in CONTRAST_EDGES[:-1]]


def _rate(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _percent(part: int, whole: int) -> str:
    return f" ({part / whole:.1%})" if whole else ""
