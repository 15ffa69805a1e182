"""`patchline inspect`: images in, one verdict each out."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from patchline.ops.commands._backbone import Precision, Runtime
from patchline.ops.commands._options import examples, say, say_json

INSPECT_EXAMPLES = examples(
    "patchline inspect banks/bottle part-1.png part-2.png",
    "patchline inspect banks/bottle images/ --overlays overlays/ --out verdicts.jsonl",
    "patchline inspect banks/bottle images/ | jq -r 'select(.verdict != \"pass\") | .frame_id'",
)


def inspect(
    bank: Annotated[str, typer.Argument(help="Folder or URL of the memory bank.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="File for the verdicts.", show_default="standard output")] = None,
    overlays: Annotated[
        Path | None, typer.Option(help="Folder for a PNG of each image under its anomaly map.", show_default=False)
    ] = None,
    generation: Annotated[int | None, typer.Option(help="Generation that judges.", show_default="the newest")] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Look into subfolders.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    search: Annotated[str, typer.Option(help="auto, faiss, torch or pruned.")] = "auto",
    runtime: Annotated[
        Runtime, typer.Option(help="What runs the backbone on a CPU; openvino is an extra to install.")
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="How a float32 bank is computed; auto is half precision on a GPU.")
    ] = "auto",
) -> None:
    """Judge images: one line of JSON each, as the service would write it.

    Exits with 0 whatever the verdicts; an image that cannot be read is `not_inspected`, with the reason.
    """
    from patchline.ops.offline.image_files import find_images
    from patchline.ops.offline.image_folder import left_out

    paths = find_images(images, recursive=recursive)
    for folder in images:
        for remark in left_out(folder, recursive=recursive) if folder.is_dir() else ():
            say(f"note: {folder}: {remark}", err=True)

    import msgspec

    from patchline.ops.commands._bank import open_inspector
    from patchline.ops.commands._progress import progress_bars
    from patchline.ops.errors import OpsError
    from patchline.ops.offline.image_files import inspect_files

    inspector, recipe = open_inspector(
        bank, generation=generation, device=device, search=search, runtime=runtime, precision=precision
    )
    try:
        file = out.open("wb") if out else None
        if overlays:
            overlays.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OpsError(f"{error.filename}: cannot be written: {error.strerror}") from error
    counts: dict[str, int] = {}
    names: set[str] = set()
    try:
        with progress_bars({"inspect": "Inspecting"}) as report:
            for path, outcome in inspect_files(
                inspector, recipe, paths, maps="all" if overlays else "none", report=report
            ):
                line = msgspec.json.encode(outcome.result)
                if file:
                    file.write(line + b"\n")
                else:
                    say_json(line)
                counts[outcome.result.verdict] = counts.get(outcome.result.verdict, 0) + 1
                if overlays and outcome.inspection is not None:
                    from patchline.ops.offline.overlay import save_overlay

                    save_overlay(overlays / _unused(path, names), path, outcome)
        if file:
            file.close()  # what was held back is written now
    except OSError as error:
        where = error.filename or (out if file else None)
        if where is None:
            raise  # standard output: the command line says it
        raise OpsError(f"{where}: cannot be written: {error.strerror or error}") from error
    finally:
        if file:
            with suppress(OSError):
                file.close()
    say(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())), err=True)


def _unused(path: Path, names: set[str]) -> str:
    """A PNG's name after the image's; images of one name in several folders take their folders' names along."""
    parts = path.with_suffix("").parts
    for length in range(1, len(parts) + 1):
        name = "_".join(part.strip("/.") for part in parts[-length:]) + ".png"
        if name not in names:
            break
    number = 2
    while name in names:
        name = f"{path.stem}-{number}.png"
        number += 1
    names.add(name)
    return name
