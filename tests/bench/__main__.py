"""Measure figures: `python -m tests.bench [FIGURE ...]`; without one, all of them."""

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from tests.bench import loaded, played
from tests.bench.bench import Bench, Figure, FigureUnavailableError
from tests.bench.peer import REPOSITORY, PeerError
from tests.bench.row import Row, merge, table

FIGURES = {
    "coreset": "coreset:coreset",  # and `coreset_heap_kept`
    "coreset10": "coreset:coreset10",
    "throughput": "throughput:throughput",
    "throughput10": "throughput:throughput10",
    "throughput10_openvino": "throughput:throughput10_openvino",
    "search": "search:search",
    "search_grid": "search_grid:search_grid",
    "backbone": "throughput:backbone",
    "efficiency": "throughput:efficiency",
    "memory": "memory:memory",
    "accuracy": "accuracy:accuracy",
    "learning": "learning:learning",
    "guard": "guard:guard",
    "calibration": "calibration:calibration",
    "contamination": "contamination:contamination",
    "contamination_tile": "contamination:contamination_tile",
    "first_hour": "first_hour:first_hour",
    "fit_cost": "fit_cost:fit_cost",
    "calibrated_update": "calibrated_update:calibrated_update",
    "pipeline": "pipeline:pipeline",
    "exactly_once": "pipeline:exactly_once",
    "stream": "stream_alone:stream",
    "update": "update:update",
    "radius": "update:radius",
    "tap": "tap:tap",
    "learning_latency": "tap:learning_latency",
    "int8": "int8:int8",
    "int8_accuracy": "int8:int8_accuracy",
}
"""Figure -> module of this package and function. Modules are imported when their figure is measured."""


def main() -> int:
    """Measure the figures asked for; the exit status is 1 where one could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"one of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--repeats", type=int, default=5, help="how often each side runs (default 5)")
    parser.add_argument("--quick", action="store_true", help="less work, to try the harness: figures mean nothing")
    parser.add_argument("--before", type=Path, metavar="DIR", help="a checkout of an earlier version, for `fit_cost`")
    parser.add_argument("--only", default="", metavar="PART", help="of `search` and `search_grid`, rows named so")
    options = parser.parse_args()
    if unknown := sorted(set(options.figures) - FIGURES.keys()):
        parser.error(f"no figure {', '.join(unknown)}: expected {', '.join(FIGURES)}")

    if told := played.untold():  # some of them are read when a library is loaded, which has happened by now
        again = [sys.executable, "-m", "tests.bench", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | told)  # noqa: S606 - this very process

    console = Console()
    console.width = max(console.width, 120)
    processor = played.play_along()
    bench = Bench(
        console=console,
        repeats=options.repeats,
        quick=options.quick,
        processor=processor,
        before=options.before,
        only=options.only,
    )
    bench.say(f"{processor}; {bench.threads} threads, Python {platform.python_version()}, torch {torch.__version__}")
    if said := played.stated():
        bench.say(said)
    rows: list[Row] = []
    failed: dict[str, str] = {}
    try:
        for name in options.figures or FIGURES:
            console.rule(f"[bold]{name}", align="left")
            start = time.perf_counter()
            try:
                found = _figure(name)(bench)
            except (FigureUnavailableError, PeerError) as error:
                failed[name] = str(error)
                console.print(f"[red]not measured:[/] {error}", highlight=False)
                continue
            if not found:
                failed[name] = f"no row has {options.only} in its name"
                console.print(f"[red]not measured:[/] {failed[name]}", highlight=False)
                continue
            console.print(table(found, f"{name} ({time.perf_counter() - start:.0f} s)"))
            measured_on = _measured_on(bench)
            _say_loaded(bench, found, measured_on["ours"])
            if not options.quick:
                merge(found, REPOSITORY / "build" / "bench.json", measured_on)
            rows += found
    finally:
        bench.close()
    if len(options.figures) != 1 and rows:
        console.rule("[bold]all figures", align="left")
        console.print(table(rows, "all figures"))
    return 1 if failed else 0


def _measured_on(bench: Bench) -> dict[str, Any]:
    """The machine and our side of it, as `row.merge` keeps them."""
    return {"processor": asdict(bench.processor), "threads": bench.threads, "ours": loaded.loaded()}


def _say_loaded(bench: Bench, rows: Sequence[Row], ours: loaded.Loaded) -> None:
    """What both sides loaded; peers that loaded the same are said once."""
    bench.say(f"ours loaded: {loaded.stated(ours)}")
    peers: dict[str, list[str]] = {}
    for row in rows:
        if row.peer_loaded is not None:
            peers.setdefault(loaded.stated(row.peer_loaded), []).append(row.figure)
    for said, figures in peers.items():
        bench.say(f"the peer of {', '.join(figures)} loaded: {said}")


def _figure(name: str) -> Figure:
    module, function = FIGURES[name].split(":")
    figure: Figure = getattr(importlib.import_module(f"tests.bench.{module}"), function)
    return figure


if __name__ == "__main__":
    sys.exit(main())
