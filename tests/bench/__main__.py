"""Measure figures: `python -m tests.bench [FIGURE ...]`; without one, all of them."""

import argparse
import importlib
import platform
import sys
import time

import torch
from rich.console import Console

from tests.bench.bench import REPOSITORY, Bench, Figure, FigureUnavailableError
from tests.bench.peer import PeerError
from tests.bench.row import Row, merge, table

FIGURES = {
    "coreset": "coreset:coreset",
    "coreset10": "coreset:coreset10",
    "throughput": "throughput:throughput",
    "throughput10": "throughput:throughput10",
    "search": "search:search",
    "efficiency": "throughput:efficiency",
    "memory": "memory:memory",
    "accuracy": "accuracy:accuracy",
    "learning": "learning:learning",
    "guard": "guard:guard",
    "calibration": "calibration:calibration",
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
    options = parser.parse_args()
    if unknown := sorted(set(options.figures) - FIGURES.keys()):
        parser.error(f"no figure {', '.join(unknown)}: expected {', '.join(FIGURES)}")

    console = Console()
    console.width = max(console.width, 120)
    console.print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}",
        highlight=False,
    )
    bench = Bench(console=console, repeats=options.repeats, quick=options.quick)
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
            console.print(table(found, f"{name} ({time.perf_counter() - start:.0f} s)"))
            if not options.quick:
                merge(found, REPOSITORY / "build" / "bench.json")
            rows += found
    finally:
        bench.close()
    if len(options.figures) != 1 and rows:
        console.rule("[bold]all figures", align="left")
        console.print(table(rows, "all figures"))
    return 1 if failed else 0


def _figure(name: str) -> Figure:
    module, function = FIGURES[name].split(":")
    figure: Figure = getattr(importlib.import_module(f"tests.bench.{module}"), function)
    return figure


if __name__ == "__main__":
    sys.exit(main())
