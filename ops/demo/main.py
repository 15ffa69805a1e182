"""The demo from start to end: page up, banks fitted, the service's own pipeline run, the summary given."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import save_bank
from patchline.engine.fitting.fit import fit
from patchline.engine.inspection.inspector import Inspector
from patchline.ops.demo.board import Board, Shown
from patchline.ops.demo.feed import Feed, Job
from patchline.ops.demo.page import Page
from patchline.ops.demo.summary import summary, tables
from patchline.ops.demo.tally import Tally
from patchline.ops.demo.teaching import PERSON, SimulatedOperator, learning_loop, store_in, tap
from patchline.ops.demo.terminal import show_board
from patchline.ops.telemetry.metrics import Metrics
from patchline.ops.web.server import HttpServer
from patchline.stream.learning.inbox import LocalInbox
from patchline.stream.model.errors import AbortedError
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Fan
from patchline.stream.pipeline import Pipeline
from patchline.stream.recording.jsonl import JsonLinesSink

STAGE_WORDS = {
    "read": "taking good frames",
    "embed": "computing patches",
    "coreset": "choosing rows",
    "calibrate": "calibrating",
}
DEMO_LIMITS = Limits(batch_size=4, max_in_flight=16)
"""A demo is watched: small batches, and no long queue in front of the engine."""
Operator: TypeAlias = Literal["none", "simulated"]
"""Who taps false rejects; the person at the page may at any time."""
FeedMaker = Callable[[], Awaitable[Feed]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the demo runs. `port` 0 takes a free one; `results` None keeps the JSON lines only as long as it runs.
    `operator` says who taps false rejects, where the truth is known.
    """

    page: bool = True
    host: str = "127.0.0.1"
    port: int = 8800
    rate: float = 10.0
    json: Path | None = None
    results: Path | None = None
    operator: Operator = "simulated"


async def run_demo(make_feed: FeedMaker, options: Options, console: Console) -> dict[str, Any]:
    """Run the demo to its end, or until SIGINT or SIGTERM; the first one drains, a second one stops at once.

    Args:
        make_feed: makes what is inspected, within the event loop.
        options: how it runs.
        console: where it shows itself.

    Returns:
        The summary, as it is written with `--json`.
    """
    metrics = Metrics()
    tally = Tally()
    feed = await make_feed()
    tally.truth_known = feed.truth_known
    board = Board(tally, feed.truth_of)
    where = ""
    inbox = LocalInbox()

    async def tapped(shown: Shown) -> None:
        board.say(shown.frame.frame_id, "Confirmed, learning …")
        await tap(inbox, shown, PERSON)

    server = HttpServer(
        metrics.registry,
        lambda: None if board.state == "running" else f"the demo is {board.state}",
        host=options.host,
        port=options.port,
        routes=Page(board, feed.heading, tapped).routes(),
    )
    if options.page:
        await server.start()
        where = f"{server.url}/"
        console.print(Text.assemble("Page: ", (where, "bold"), f"   metrics: {server.url}/metrics"))
    for remark in feed.remarks:
        console.print(remark)
    try:
        with TemporaryDirectory(prefix="patchline-demo-") as folder:
            banks = await _fit_all(feed, board, console, Path(folder))
            board.fitted_rows = {name: len(bank.rows) for name, bank in banks.items()}
            metrics.banks(banks)
            metrics.expect(sorted(banks))
            observer = Fan(metrics, board)
            engine = await asyncio.to_thread(Inspector, banks)
            loop = await asyncio.to_thread(learning_loop, inbox, Path(folder), engine, DEMO_LIMITS, observer)
            operators = [SimulatedOperator(inbox, board)] if options.operator == "simulated" else []
            pipeline = Pipeline(
                sources=[feed.source(observer)],
                engine=engine,
                sinks=[JsonLinesSink(options.results or Path(folder) / "results.jsonl")],
                limits=DEMO_LIMITS,
                observer=observer,
                maps="all",
                side_tasks=[loop, *operators],
            )
            await _stream(pipeline, board, console, where)
        board.enter("done")
        outcome = summary(tally, board.dropped) | {"banks": {name: _bank(bank) for name, bank in banks.items()}}
        promised = next(iter(banks.values())).recipe.false_reject_rate
        console.print(tables(tally, board.dropped, promised=promised, rate=options.rate if feed.truth_known else 0))
        if options.json is not None:
            await asyncio.to_thread(options.json.write_bytes, msgspec.json.format(msgspec.json.encode(outcome)) + b"\n")
            console.print(f"Summary written to {options.json}")
        await asyncio.sleep(0.5 if options.page else 0)  # the page takes the last message
    finally:
        await server.stop()
    return outcome


async def _stream(pipeline: Pipeline, board: Board, console: Console, where: str) -> None:
    draining: list[asyncio.Task[None]] = []

    def stop() -> None:
        if draining:
            pipeline.abort("interrupted twice")
        else:
            draining.append(asyncio.create_task(pipeline.drain()))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    screen = asyncio.create_task(show_board(board, console, lambda: where))
    try:
        with suppress(AbortedError):
            await pipeline.run()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        board.enter("draining")
        screen.cancel()
        await asyncio.gather(screen, *draining, return_exceptions=True)


async def _fit_all(feed: Feed, board: Board, console: Console, folder: Path) -> dict[str, MemoryBank]:
    loop = asyncio.get_running_loop()
    banks: dict[str, MemoryBank] = {}
    columns = (TextColumn("{task.description:<36}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        for job in feed.jobs:
            bar = bars.add_task(job.recipe.name, total=1.0)

            def report(stage: str, done: int, total: int, job: Job = job, bar: Any = bar) -> None:
                words, share = f"{job.recipe.name}: {STAGE_WORDS[stage]}", _fit_share(job, stage, done, total)
                bars.update(bar, description=words, completed=share)
                loop.call_soon_threadsafe(board.report, words, share)

            made = await asyncio.to_thread(
                fit,
                job.good,
                job.recipe,
                groups=job.groups,
                calibration=job.calibration,
                progress=report,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                keep=store_in(folder, job.recipe.name).keep,
            )
            await asyncio.to_thread(save_bank, made.bank, folder / job.recipe.name, made.calibration)
            bars.update(bar, description=f"{job.recipe.name}: fitted", completed=1.0)
            banks[job.recipe.name] = made.bank
            console.print(
                f"{job.recipe.name}: {made.rows} rows of {made.patches} patches, covering radius {made.radius:.2f}; "
                f"{made.promise}."
            )
    return banks


def _fit_share(job: Job, stage: str, done: int, total: int) -> float:
    """How much of a fit is done, by the time that its stages usually take."""
    starts = {"read": (0.0, 0.3), "embed": (0.3, 0.25), "coreset": (0.55, 0.1), "calibrate": (0.65, 0.35)}
    begin, length = starts[stage]
    if stage == "read":
        total = max(job.good_count, job.calibration_count, total)
    return begin + length * done / max(total, 1)


def _bank(bank: MemoryBank) -> dict[str, Any]:
    return {
        "rows": len(bank.rows),
        "covering_radius": bank.covering_radius,
        "threshold": bank.threshold,
        "false_reject_rate": bank.recipe.false_reject_rate,
        "calibration_frames": bank.calibration.frames,
        "sha256": bank.sha256,
    }
