"""A bank judged on a labelled test set: figures, table, JSON and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.evaluation.metrics import GOOD, Evaluation, evaluate, roc
from patchline.engine.evaluation.pixel_metrics import PixelTally
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.types import Verdict
from patchline.ops.errors import InputError
from patchline.ops.offline.charts import save_roc, save_score_histogram
from patchline.ops.offline.image_files import inspect_files
from patchline.ops.offline.mvtec import TestImage, read_mask
from patchline.ops.offline.overlay import save_overlay
from patchline.stream.model.result import Result

NONE = "-"


@dataclass(slots=True)
class Evaluated:
    """What came of a test set. `scores` is float64 (n,), of the n frames inspected; `kinds` are theirs."""

    bank: MemoryBank
    recipe: str
    figures: Evaluation
    results: list[Result]
    scores: NDArray[np.float64]
    kinds: list[str]
    unreadable: list[Result] = field(default_factory=list)
    without_mask: int = 0
    black_masks: int = 0


def evaluate_images(
    inspector: Inspector,
    recipe: str,
    images: Sequence[TestImage],
    *,
    overlays: Path | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> Evaluated:
    """Judge every image as the service would, and compute all figures.

    Args:
        inspector: what judges.
        recipe: name of the recipe whose bank judges.
        images: the labelled test set.
        overlays: folder for a PNG of each image with its map; None: none are drawn.
        report: hears a stage's name, how many images are done, and of how many.

    Raises:
        InputError: no image could be inspected.
    """
    bank = inspector.recipes[recipe]
    has_masks = any(image.mask for image in images)
    tally = PixelTally()
    results: list[Result] = []
    kinds: list[str] = []
    without_mask = black_masks = 0
    judged = inspect_files(
        inspector, recipe, [i.path for i in images], maps="all" if has_masks or overlays else "none", report=report
    )
    for image, (path, outcome) in zip(images, judged, strict=True):
        results.append(outcome.result)
        if outcome.inspection is None:
            continue
        kinds.append(image.kind)
        anomaly_map = outcome.inspection.anomaly_map
        if has_masks and anomaly_map is not None:
            if image.kind == GOOD:
                tally.add(GOOD, anomaly_map, None)
            elif image.mask is not None:
                mask = read_mask(image.mask, bank.recipe.image_size_px)
                black_masks += not mask.any()
                tally.add(image.kind, anomaly_map, mask)
            else:
                without_mask += 1
        if overlays:
            (overlays / image.kind).mkdir(parents=True, exist_ok=True)
            save_overlay(overlays / image.kind / f"{path.stem}.png", path, outcome)
    scores = np.array([result.score for result in results if result.score is not None], dtype=np.float64)
    if not len(scores):
        raise InputError(f"{len(images)} images and none could be inspected: {results[0].detail}")
    return Evaluated(
        bank=bank,
        recipe=recipe,
        figures=evaluate(scores, kinds, threshold=bank.threshold, pixels=tally if has_masks else None),
        results=results,
        scores=scores,
        kinds=kinds,
        unreadable=[result for result in results if result.verdict is Verdict.NOT_INSPECTED],
        without_mask=without_mask,
        black_masks=black_masks,
    )


def write_evaluation(evaluated: Evaluated, out: Path) -> str:
    """Write `evaluation.json`, `verdicts.jsonl`, `roc.png` and `scores.png`; the JSON is returned too."""
    document = msgspec.json.format(msgspec.json.encode(as_document(evaluated)), indent=2).decode()
    (out / "evaluation.json").write_text(document + "\n", encoding="utf-8")
    (out / "verdicts.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(evaluated.results))
    figures = evaluated.figures
    title = f"{evaluated.recipe}, generation {evaluated.bank.generation}"
    save_score_histogram(out / "scores.png", evaluated.scores, evaluated.kinds, evaluated.bank.threshold, title=title)
    if figures.image_auroc is not None and figures.escape_rate is not None and figures.false_reject_rate is not None:
        curve = roc(evaluated.scores, np.array([kind != GOOD for kind in evaluated.kinds]))
        point = (figures.false_reject_rate, 1 - figures.escape_rate)
        save_roc(out / "roc.png", curve, figures.image_auroc, at_threshold=point, title=title)
    return document


def as_document(evaluated: Evaluated) -> dict[str, Any]:
    """The figures, and what they were taken with."""
    bank = evaluated.bank
    return {
        "recipe": evaluated.recipe,
        "generation": {"number": bank.generation, "sha256": bank.sha256},
        "promise": bank.promise,
        "asked_false_reject_rate": None if bank.calibration.fixed else bank.calibration.false_reject_rate,
        **msgspec.to_builtins(evaluated.figures),
        "not_inspected": [{"file": r.frame_id, "reason": r.reason, "detail": r.detail} for r in evaluated.unreadable],
        "defective_without_mask": evaluated.without_mask,
        "defective_with_black_mask": evaluated.black_masks,
    }


def evaluation_table(evaluated: Evaluated) -> tuple[Table, list[str]]:
    """The figures as a table by defect type, and remarks under it."""
    figures, names = evaluated.figures, np.asarray(evaluated.kinds, dtype=object)
    rejected = evaluated.scores > evaluated.bank.threshold
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kind", overflow="fold")
    for heading in ("frames", "rejected", "share", "image AUROC", "pixel AUROC", "AUPRO"):
        table.add_column(heading, justify="right")

    def row(kind: str, chosen: NDArray[np.bool_], *areas: float | None, style: str = "") -> None:
        count, total = int((rejected & chosen).sum()), int(chosen.sum())
        share = f"{100 * count / total:.1f} %" if total else NONE
        table.add_row(Text(kind), str(total), str(count), share, *(_area(area) for area in areas), style=style)

    row(GOOD, names == GOOD, None, None, None)
    for kind, of_kind in figures.by_defect.items():
        row(kind, names == kind, of_kind.image_auroc, of_kind.pixel_auroc, of_kind.aupro)
    if figures.by_defect:
        row("all defects", names != GOOD, figures.image_auroc, figures.pixel_auroc, figures.aupro, style="bold")
    return table, _remarks(evaluated)


def _remarks(evaluated: Evaluated) -> list[str]:
    figures, calibration = evaluated.figures, evaluated.bank.calibration
    notes = []
    if figures.false_reject_rate is not None:
        rate = f"{100 * calibration.false_reject_rate:.4g} %"
        notes.append(
            f"threshold {evaluated.bank.threshold:.6g}: {figures.false_rejects} of {figures.good_frames} good frames "
            f"rejected ({100 * figures.false_reject_rate:.1f} %; "
            + (
                f"a person chose it, and {rate} of {calibration.frames} held-out frames lie above it)"
                if calibration.fixed
                else f"aimed at {rate}, on {calibration.frames} held-out frames)"
            )
        )
    if figures.escapes is not None:
        notes.append(f"escapes: {figures.escapes} of {figures.defective_frames} defective frames pass")
    if figures.f1_max is not None:
        notes.append(f"F1-max {figures.f1_max:.4f} at a threshold of {figures.f1_max_threshold:.6g}")
    for what, why in figures.undefined.items():
        figure, _, kind = what.partition(" of ")
        if kind and figures.undefined.get(figure) == why:
            continue  # said once for all kinds of defect
        notes.append(f"{what.replace('_', ' ')}: {NONE} ({why})")
    if evaluated.without_mask:
        notes.append(f"{evaluated.without_mask} defective images have no mask: they are left out of the pixel figures")
    if evaluated.black_masks:
        notes.append(f"{evaluated.black_masks} defective images have a black mask: all their pixels count as good")
    if evaluated.unreadable:
        first = evaluated.unreadable[0]
        notes.append(f"{len(evaluated.unreadable)} images not inspected, the first: {first.frame_id}: {first.detail}")
    return notes


def _area(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"
