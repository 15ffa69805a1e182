"""`patchline fit`: good images in, generation 1 of a memory bank out."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patchline.ops.commands._backbone import (
    BackboneOptions,
    FitPrecision,
    Library,
    Runtime,
    build_backbone,
    of_device,
    of_recipe,
)
from patchline.ops.commands._options import examples, plain_console, say, say_lines
from patchline.ops.errors import InputError
from patchline.ops.offline.fit_options import check_folder_to_be, check_numbers, parse_size, tiles
from patchline.ops.settings.locations import is_url, last_name

if TYPE_CHECKING:
    from patchline.engine.fitting.fit import FitReport

FIT_EXAMPLES = examples(
    "patchline fit images/bottle/train/good --out banks/bottle",
    "patchline fit good/ --out banks/tile --backbone efficientnet_lite0 --coreset 0.02 --false-reject-rate 0.02",
    "patchline fit good/ --out banks/tile --calibration good-next-week/ --size 320x224",
    r"patchline fit good/ --out banks/tile --group '^(\d+)_'",
    "patchline fit good/ --out banks/tile --exclude 017.png --keep 004.png",
    "patchline fit good/ --out banks/tile --backbone resnet50 --weights weights/resnet50.pth --stages layer2,layer3",
    "patchline fit good/ --out banks/tile --backbone efficientnet_lite0 --levelling --centring --score-patches 5",
    "patchline fit good/ --out banks/tile --precision int8",
    "patchline fit good/ --out banks/sheet --size 3000x4096 --tile 512 --overlap 128 --projection 128",
)
STAGES = {
    "look": "Looking at the images",
    "read": "Reading images",
    "embed": "Computing patch embeddings",
    "coreset": "Choosing the coreset",
    "calibrate": "Scoring held-out images",
    "measure": "Comparing with float32",
}


def fit(
    images: Annotated[
        Path,
        typer.Argument(help="Folder of images of good parts, or a data set in MVTec's layout.", show_default=False),
    ],
    out: Annotated[str, typer.Option(help="Folder or URL to create for the memory bank.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="Name of the recipe.", show_default="the name of the bank's folder")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Preset ([b]efficientnet_lite0[/], [b]wide_resnet50_2[/]) or a library's model name.")
    ] = "wide_resnet50_2",
    library: Annotated[
        Library | None, typer.Option(help="Library of a backbone that is no preset.", show_default="torchvision")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="File, the library's name of weights, or package:NAME.", show_default="the preset's"),
    ] = None,
    stages: Annotated[str | None, typer.Option(help="Tapped stages.", show_default="the preset's")] = None,
    mean: Annotated[
        str | None, typer.Option(help="R,G,B mean that the weights expect, in pixel units.", show_default="ImageNet's")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="R,G,B standard deviation, in pixel units.", show_default="ImageNet's")
    ] = None,
    size: Annotated[
        str, typer.Option(help="Image size for the backbone in pixels, one number or HEIGHTxWIDTH.")
    ] = "224",
    tile: Annotated[
        int | None,
        typer.Option(help="Side of square tiles in pixels, for large images.", show_default="the whole image at once"),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Pixels that neighbouring tiles share.", show_default="a quarter of --tile")
    ] = None,
    coreset: Annotated[float, typer.Option(help="Share of all patches that the bank keeps.")] = 0.01,
    least_rows: Annotated[
        int, typer.Option(help="Rows that the bank keeps at least, up to half of the patches.")
    ] = 1500,
    projection: Annotated[
        int | None,
        typer.Option(
            help="Choose those in this many random dimensions: faster, with a somewhat larger radius.",
            show_default="all dimensions",
        ),
    ] = None,
    false_reject_rate: Annotated[
        float,
        typer.Option(help="Share of good frames that the threshold aims to reject; with too few images the lowest."),
    ] = 0.05,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Folder of further good images for the threshold alone: it then proves its rate.",
            show_default="IMAGES themselves, each scored without its fold",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Images in whose names it finds the same, such as views of a part, are held out or learned together.",
            metavar="REGEX",
            show_default="copies of one picture do",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Image to leave out of the fit; [b]all[/] leaves out what looks contaminated. Repeatable.",
            metavar="NAME|all",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="Image that is good, and is never set aside; [b]all[/] are. Repeatable.",
            metavar="NAME|all",
            show_default=False,
        ),
    ] = None,
    overlays: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the oddest images with their maps.", show_default="OUT-look-first, beside a local bank"
        ),
    ] = None,
    levelling: Annotated[
        bool, typer.Option("--levelling", help="Bring every frame to one median grey first: exposure may change.")
    ] = False,
    centring: Annotated[
        bool, typer.Option("--centring", help="Take the frame's own mean from each feature channel. Not with --tile.")
    ] = False,
    patch_stride: Annotated[
        int | None, typer.Option(help="Pixels between patches.", show_default="as the finest tapped stage")
    ] = None,
    score_patches: Annotated[
        int, typer.Option(help="Score by the mean of so many farthest patches; 1: by the farthest, re-weighted.")
    ] = 1,
    stream_scores: Annotated[
        bool,
        typer.Option("--stream-scores", help="Let learned thresholds follow the stream's scores; no rate is promised."),
    ] = False,
    row_budget: Annotated[
        int | None,
        typer.Option(help="Rows that learning may keep at most.", show_default="4 times the fit's, or 10000"),
    ] = None,
    admission: Annotated[
        float, typer.Option(help="Learning adds patches farther than this share of the covering radius, 0.5 to 1.")
    ] = 0.85,
    hold_slips: Annotated[
        float | None,
        typer.Option(
            help="Share of defects, confirmed as good by mistake, that wait for a second person; good frames wait too.",
            show_default="only what would hide a known defect waits",
        ),
    ] = None,
    unused_days: Annotated[
        int | None, typer.Option(help="Rows unused on so many days of inspection age out.", show_default="never")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Look into subfolders.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the folds and of the coresets.")] = 0,
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="Folder for temporary files, on a disk: 2 bytes a value of a patch, 3 a pixel.",
            show_default="the system's",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    runtime: Annotated[
        Runtime, typer.Option(help="What runs the backbone on a CPU; openvino is an extra to install.")
    ] = "auto",
    precision: Annotated[
        FitPrecision,
        typer.Option(
            help="What the backbone computes in, wherever the bank judges. int8 and bfloat16 are quicker on a CPU, and "
            "refused where held-out scores do not hold; lowest takes the first of int8, bfloat16, float32 that holds "
            "and is quicker. auto is float32, half precision on a GPU."
        ),
    ] = "auto",
) -> None:
    """Fit a memory bank to images of good parts.

    Looks at the images first, and says what is odd about them. All of them give rows, and each is scored by the rows
    of the other folds for the threshold. Prints what the bank holds, and what its threshold aims at, proves and leaves
    open. Images that look like defects are set aside: they give no rows, and count as above the threshold until
    --exclude or --keep says what they are; with --calibration none are. An existing bank is never overwritten.
    """
    from patchline.engine.bank.store import generations

    if generations(out):
        raise InputError(f"{out}: holds a memory bank already, and a generation never changes; expected a new folder")
    if not is_url(out):
        check_folder_to_be(Path(out), "--out")
    height, width = parse_size(size)
    tiling = tiles(tile, overlap)
    check_numbers(coreset, least_rows, projection, false_reject_rate)
    if scratch is not None and not scratch.is_dir():
        raise InputError(f"--scratch: {scratch}: no such folder")
    from patchline.ops.offline.image_folder import choose_images, without

    good = without(choose_images(images, recursive=recursive), exclude or (), keep or ())
    held_out = choose_images(calibration, recursive=recursive) if calibration else None

    from datetime import UTC, datetime

    from msgspec import structs

    from patchline.engine.recipe import Recipe
    from patchline.ops.commands._progress import progress_bars
    from patchline.ops.offline.first_look import first_look

    spec = build_backbone(BackboneOptions(backbone, library, stages, weights, mean, std))
    recipe = Recipe(
        name=name or last_name(out),
        backbone=structs.replace(spec, precision=of_recipe(precision)),
        image_size_px=(height, width),
        coreset_fraction=coreset,
        least_rows=least_rows,
        false_reject_rate=false_reject_rate,
        seed=seed,
        tiling=tiling,
        projection=projection,
        levelling=levelling,
        centring=centring,
        patch_stride_px=patch_stride,
        score_patches=score_patches,
        stream_scores=stream_scores,
        row_budget=row_budget,
        admission=admission,
        hold_slips=hold_slips,
        unused_days=unused_days,
    )
    with ExitStack() as files:
        with progress_bars(STAGES) as report:
            size_px = recipe.image_size_px
            look = files.enter_context(
                first_look(good, held_out, size_px, pattern=group, scratch=scratch, report=report)
            )
        for remark in look.remarks:
            say(f"note: {remark}", err=True)

        # PyTorch is loaded only now: what the images are like is told before.
        from patchline.engine.bank.store import GenerationStore, save_bank
        from patchline.engine.fitting.fit import fit as fit_bank
        from patchline.engine.fitting.lowest import fit_lowest
        from patchline.ops.offline.fit_report import fit_table, fit_warnings, set_aside_warning
        from patchline.ops.offline.look_first import write_look_first

        passed_over: list[str] = []
        with progress_bars(STAGES) as report:

            def fit_in(stated: Recipe) -> "FitReport":
                return fit_bank(
                    look.images,
                    stated,
                    groups=look.groups,
                    calibration=look.calibration,
                    calibration_groups=look.calibration_groups,
                    device=device,
                    runtime=runtime,
                    precision=of_device(precision),
                    progress=report,
                    # Of several fits only the last one's frames may lie in the store: `save_bank` puts them there.
                    keep=None if precision == "lowest" else GenerationStore(out).keep,
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    scratch=scratch,
                    exclude=[name for name in exclude or () if name == "all"],
                    trusted=keep or (),
                )

            if precision == "lowest":
                fitted, passed_over = fit_lowest(recipe, fit_in)
            else:
                fitted = fit_in(recipe)
    save_bank(fitted.bank, out, fitted.calibration)
    plain_console().print(fit_table(fitted, out, look.groups, look.seconds))
    pictures = overlays or (None if is_url(out) else Path(out.rstrip("/") + "-look-first"))
    if pictures and fitted.oddest:
        if trouble := write_look_first(fitted, good, pictures):
            say(f"Warning: {trouble}", err=True)
        else:
            say(f"Look at these first: {pictures}")
    if aside := set_aside_warning(fitted, out, sys.argv[1:]):
        say_lines(f"Warning: {aside}", err=True)
    for why in passed_over:
        say(f"Not taken: {why}", err=True)
    for warning in fit_warnings(fitted.figures, out, calibration, sys.argv[1:]):
        say_lines(f"Warning: {warning}", err=True)
