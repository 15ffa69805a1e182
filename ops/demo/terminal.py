"""The terminal: the line at a glance while it runs; the page has the pictures."""

import asyncio
from collections.abc import Callable
from itertools import islice

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from patchline.ops.demo.board import Board, Shown
from patchline.ops.demo.tally import Outcome

STEPS = "▁▂▃▄▅▆▇█"
STYLES = {
    Outcome.PASS: "green",
    Outcome.REJECT: "bold red",
    Outcome.CAUGHT: "bold red",
    Outcome.ESCAPE: "bold magenta",
    Outcome.FALSE_REJECT: "bold yellow",
    Outcome.NOT_INSPECTED: "yellow",
}
REFRESH_HZ = 4
PLAIN_EVERY_S = 10.0
METER = 40
"""Characters of a score meter; the threshold is at three fifths of it."""
RECENT_REJECTS = 5


async def show_board(board: Board, console: Console, where: Callable[[], str]) -> None:
    """Show the board until it is done: live on a terminal, a line now and then elsewhere.

    Args:
        board: what is shown.
        console: where.
        where: gives the page's address, empty where there is none.
    """
    if not console.is_terminal:
        while board.state != "done":
            await asyncio.sleep(PLAIN_EVERY_S)
            if board.tally.frames:
                console.print(_counts(board))
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while board.state != "done":
            live.update(view(board, console.width, where()), refresh=True)
            await asyncio.sleep(1 / REFRESH_HZ)


def view(board: Board, width: int, where: str) -> RenderableType:
    """The board as it is now."""
    cameras = Table(box=None, padding=(0, 1), show_header=False, expand=False)
    for camera, shown in sorted(board.latest.items()):
        cameras.add_row(camera, Text(_verdict(shown), STYLES[shown.outcome]), _meter(shown.ratio), _ratio(shown.ratio))
    rejects = Table(box=None, padding=(0, 1), show_header=False)
    for shown in islice((one for one in board.gallery if one.outcome is not Outcome.ESCAPE), RECENT_REJECTS):
        label = "REJECT" if shown.outcome is Outcome.REJECT else shown.outcome.upper()
        rejects.add_row(
            Text(label, STYLES[shown.outcome]), shown.frame.frame_id, f"{shown.reason}.", Text(shown.planted, "dim")
        )
    chart = Group(_spark(board, width - 6), Text("score / threshold of the latest frames; ┃ marks a reject", "dim"))
    parts: list[RenderableType] = [_counts(board), cameras, chart]
    if rejects.row_count:
        parts.append(Panel(rejects, title="recent rejects", title_align="left", border_style="dim"))
    subtitle = f"{where}  ·  Ctrl-C drains and sums up" if where else "Ctrl-C drains and sums up"
    return Panel(Group(*parts), title=f"Patchline demo: {board.state}", subtitle=subtitle, title_align="left")


def _counts(board: Board) -> Text:
    tally = board.tally
    words = [f"{tally.frames} frames", f"{tally.frames_per_s:.1f} frames/s"]
    words.append(f"latency {tally.latency_ms(0.5):.0f} ms (99 %: {tally.latency_ms(0.99):.0f})")
    words.append(f"{tally.rejects} rejects")
    if tally.truth_known:
        words.append(f"{tally.outcomes[Outcome.ESCAPE]} escapes of {tally.defective}")
        words.append(f"{tally.outcomes[Outcome.FALSE_REJECT]} false rejects of {tally.good}")
    if board.dropped:
        words.append(f"{board.dropped} dropped")
    return Text("  ·  ".join(words), "bold")


def _verdict(shown: Shown) -> str:
    return {"pass": "✓ pass", "reject": "✕ REJECT"}.get(shown.result.verdict.value, "? not inspected")


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"


def _meter(ratio: float | None) -> Text:
    mark = METER * 3 // 5
    filled = min(METER, round((ratio or 0.0) * mark))
    cells = "".join("│" if cell == mark else "█" if cell < filled else "·" for cell in range(METER))
    return Text(cells, "red" if filled > mark else "green")


def _spark(board: Board, width: int) -> Text:
    text = Text()
    for point in list(board.points)[-max(10, width) :]:
        if point.ratio is None:
            text.append("?", "yellow")
        elif point.ratio > 1:
            text.append("┃", STYLES[point.outcome])
        else:
            step = int((point.ratio - 0.5) / 0.5 * (len(STEPS) - 1))
            text.append(STEPS[max(0, min(len(STEPS) - 1, step))], STYLES[point.outcome])
    return text
