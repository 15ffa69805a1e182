"""`patchline evaluate`: how well a bank tells good from defective on a labelled test set."""

from pathlib import Path
from typing import Annotated

import typer

from patchline.ops.commands._backbone import Precision, Runtime
from patchline.ops.commands._options import examples, plain_console, say, say_lines

EVALUATE_EXAMPLES = examples(
    "patchline evaluate banks/bottle images/bottle",
    "patchline evaluate banks/bottle images/bottle --out evaluation/ --overlays",
    "patchline evaluate banks/bottle images/bottle --json | jq .image_auroc",
)


def evaluate(
    bank: Annotated[str, typer.Argument(help="Folder or URL of the memory bank.", show_default=False)],
    data: Annotated[
        Path,
        typer.Argument(
            help="Test set in MVTec's layout: test/good, test/DEFECT, ground_truth/DEFECT/NAME_mask.png.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for evaluation.json, verdicts.jsonl, roc.png and scores.png.")
    ] = Path("evaluation"),
    overlays: Annotated[bool, typer.Option("--overlays", help="Also a PNG of each image under its map.")] = False,
    json_only: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    generation: Annotated[int | None, typer.Option(help="Generation that judges.", show_default="the newest")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    search: Annotated[str, typer.Option(help="auto, faiss, torch or pruned.")] = "auto",
    runtime: Annotated[
        Runtime, typer.Option(help="What runs the backbone on a CPU; openvino is an extra to install.")
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="How a float32 bank is computed; auto is half precision on a GPU.")
    ] = "auto",
) -> None:
    """Evaluate a bank: image and pixel AUROC, AUPRO, F1-max, and what its threshold rejects, by defect type.

    Verdicts are those that the service would give on the same files.
    """
    from patchline.ops.offline.image_folder import left_out
    from patchline.ops.offline.mvtec import check_masks, read_test_set

    images = read_test_set(data)
    check_masks(images)
    for folder in dict.fromkeys(image.path.parent for image in images):
        for remark in left_out(folder, deeper=""):
            say(f"note: {folder}: {remark}", err=True)

    from patchline.ops.commands._bank import open_inspector
    from patchline.ops.commands._progress import progress_bars
    from patchline.ops.errors import OpsError
    from patchline.ops.offline.evaluation import evaluate_images, evaluation_table, write_evaluation

    inspector, recipe = open_inspector(
        bank, generation=generation, device=device, search=search, runtime=runtime, precision=precision
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OpsError(f"{out}: cannot be written: {error.strerror}") from error
    try:
        with progress_bars({"inspect": "Inspecting"}) as report:
            evaluated = evaluate_images(
                inspector, recipe, images, overlays=out / "overlays" if overlays else None, report=report
            )
        document = write_evaluation(evaluated, out)
    except OSError as error:
        raise OpsError(f"{error.filename or out}: cannot be written: {error.strerror or error}") from error
    if json_only:
        say_lines(document)
        return

    console = plain_console()
    table, notes = evaluation_table(evaluated)
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)
    console.print(f"written: {out}/evaluation.json, verdicts.jsonl, roc.png, scores.png", soft_wrap=True)
