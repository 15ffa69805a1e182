"""`patchline bench`: what this machine can do, and how near to it each stage of an inspection comes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from patchline.ops.commands._backbone import Precision, Runtime
from patchline.ops.commands._options import examples, plain_console, say_lines
from patchline.ops.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from patchline.engine.benchmark.benchmark import RecipeBenchmark
    from patchline.engine.benchmark.floor import Floor
    from patchline.engine.search.factory import SearchKind

BENCH_EXAMPLES = examples(
    "patchline bench banks/bottle --images images/bottle/test/good",
    "patchline bench banks/bottle banks/tile --frames 32 --repeats 5",
    "patchline bench banks/bottle --search faiss --json | jq .recipes[0].stages",
)
CAPTION = """floor: the least time for the arithmetic (search: brute force) or the memory traffic;
share: of end to end, where a map is made of rejects only"""
BATCHED = "\n{} frames at a time, of which each has its share; the device has finished at the end of each stage"


def bench(
    banks: Annotated[list[str], typer.Argument(help="Folders or URLs of memory banks.", show_default=False)],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of real frames: search times hang on them.", show_default="synthetic textures"),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="How many frames of each recipe.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="How often each frame is inspected.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    search: Annotated[str, typer.Option(help="auto, faiss, torch or pruned.")] = "auto",
    runtime: Annotated[
        Runtime, typer.Option(help="What runs the backbone on a CPU; openvino is an extra to install.")
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="How a float32 bank is computed; auto is half precision on a GPU.")
    ] = "auto",
    json_only: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure this machine: its floor, and the stages of an inspection by given banks.

    The floor is the measured rate of matrix products and the memory bandwidth; each stage is compared with the least
    time that its arithmetic and memory traffic would take. Stages are those of frames that go one by one, as from a
    single camera; in a batch, as from several, each core takes a frame. On a GPU they are those of all frames as one
    batch, of which each has its share. The processor, its instruction sets in effect, and what ran in the backbone and
    in the search are named beside them: times mean little without.
    """
    from patchline.ops.commands._bank import SEARCHES

    if search not in SEARCHES:
        raise InputError(f"--search: {search!r}; expected {', '.join(SEARCHES)}")

    from patchline.ops.offline.image_files import find_images, load_image

    files = find_images([images])[:frames] if images else []

    from patchline.engine.bank.store import load_bank

    loaded = [load_bank(folder) for folder in banks]

    from patchline.engine.benchmark.benchmark import benchmark, synthetic_images
    from patchline.engine.benchmark.floor import measure_floor
    from patchline.engine.features.preprocess import prepare
    from patchline.ops.commands._progress import progress_bars

    pictures = [load_image(path) for path in files]
    floor = measure_floor(device, precision=precision)
    found: list[RecipeBenchmark] = []
    for bank in loaded:
        size_px = bank.recipe.image_size_px
        prepared = [prepare(p, size_px) for p in pictures] if pictures else synthetic_images(size_px, frames)
        with progress_bars({"measure": f"Measuring {bank.recipe.name}"}) as report:
            found.append(
                benchmark(
                    bank,
                    prepared,
                    floor,
                    device=device,
                    search=cast("SearchKind", search),
                    runtime=runtime,
                    precision=precision,
                    repeats=repeats,
                    progress=report,
                )
            )
    if json_only:
        say_lines(_document(floor, found))
        return

    from rich.text import Text

    console = plain_console()
    console.print(f"{floor.processor}", soft_wrap=True)
    console.print(
        f"{floor.device}, {floor.threads} threads: {floor.flop_per_s / 1e9:,.0f} GFLOP/s in matrix products "
        f"({floor.precision}), {floor.bytes_per_s / 1e9:.1f} GB/s copying memory",
    )
    for result in found:
        height, width = result.image_size_px
        console.print(
            Text(f"\n{result.recipe}", style="bold", end=""),
            f": {result.frames_per_s:.1f} frames/s one by one, "
            f"{result.batch_frames_per_s:.1f} in batches of {result.frames}; {result.backbone}, {height} x {width} px, "
            f"{result.patches} patches against {result.rows:,} rows of {result.dimensions}, {result.search} search",
            sep="",
            soft_wrap=True,
        )
        console.print(f"backbone by {result.backbone_way}; search by {result.search_way}", soft_wrap=True)
        console.print(_table(result))
    if not pictures:
        console.print("Frames are synthetic textures. The time of the search hangs on them: give real --images.")


def _table(result: "RecipeBenchmark") -> "Table":
    from rich.table import Table
    from rich.text import Text

    batched = BATCHED.format(result.together) if result.together > 1 else ""
    table = Table(caption=Text(CAPTION + batched, style="table.caption", justify="center"))
    table.add_column("stage", no_wrap=True)
    for name in ("ms", "quartiles", "share", "GFLOP", "floor ms", "x floor"):
        table.add_column(name, justify="right", no_wrap=True)
    total = result.stages[-1].seconds
    for stage in result.stages:
        table.add_row(
            stage.name,
            f"{stage.seconds * 1e3:.2f}",
            f"{stage.quartiles[0] * 1e3:.3g}-{stage.quartiles[1] * 1e3:.3g}",
            f"{stage.seconds / total:.0%}",
            f"{stage.flop / 1e9:.3g}",
            f"{stage.floor_s * 1e3:.3g}",
            f"{stage.over_floor:.3g}",
            end_section=stage is result.stages[-2],
        )
    return table


def _document(floor: "Floor", found: "list[RecipeBenchmark]") -> str:
    import json
    from dataclasses import asdict

    recipes = []
    for result in found:
        stages = [asdict(stage) | {"over_floor": stage.over_floor} for stage in result.stages]
        rates = {"frames_per_s": result.frames_per_s, "batch_frames_per_s": result.batch_frames_per_s}
        recipes.append(asdict(result) | {"stages": stages} | rates)
    return json.dumps({"floor": asdict(floor), "recipes": recipes}, indent=2)
