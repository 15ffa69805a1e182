"""Defects among the good images of a fit: how many are named, how many good ones with them, and what is left of recall.

Of a set, `IMAGES` images are drawn, a share of them defects of mixed kinds. Recall is of the defects that are not among
them: of the fit after `--exclude all`, beside a clean fit of the draw's good images alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from patchline.engine.features.weights import EFFICIENTNET_LITE0
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.recipe import Recipe
from patchline.engine.types import Verdict
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.remembered import remembered
from tests.bench.row import Row

IMAGES = 100
DRAWS = 5
SHARES = (0.0, 0.05, 0.1, 0.2)
FOUND_AT_LEAST, NAMED_AT_MOST, RECALL_LOST, CLEAN_AT_MOST = 0.8, 1.5, 0.05, 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draw:
    """One draw: defects in it, images named and defects among them; recall of the fit as it is, after `--exclude all`,
    and of the clean fit.
    """

    defects: int
    named: int
    found: int
    recall: float
    excluded: float
    clean: float


def contamination(bench: Bench) -> list[Row]:
    """Defects found at 20 %, images named for each defect, recall beside a clean fit, and what a clean fit names."""
    with remembered(bench.build / "embeddings"):
        draws = {share: _draws(bench, "mvtec_bottle", share) for share in SHARES}
    named = max(draw.named / draw.defects for share in SHARES[1:] for draw in draws[share])
    lost = max(mean(draw.clean - draw.excluded for draw in draws[share]) for share in SHARES[1:])
    found = mean(draw.found / draw.defects for draw in draws[SHARES[-1]])
    clean = mean(draw.named / IMAGES for draw in draws[0.0])
    return [
        _row("contamination_found", found, FOUND_AT_LEAST, found / FOUND_AT_LEAST),
        _row("contamination_named", named, NAMED_AT_MOST, NAMED_AT_MOST / named),
        _row("contamination_recall", lost, RECALL_LOST, 1.0 if lost <= RECALL_LOST else RECALL_LOST / lost),
        _row("contamination_clean", clean, CLEAN_AT_MOST, 1.0 if clean <= CLEAN_AT_MOST else CLEAN_AT_MOST / clean),
    ]


def contamination_tile(bench: Bench) -> list[Row]:
    """The same of tiles under one light, whose defects are less odd than their good images: figures without a goal."""
    with remembered(bench.build / "embeddings"):
        draws = {share: _draws(bench, "magnetic_tile", share) for share in (0.0, 0.2)}
    found = mean(draw.found / draw.defects for draw in draws[0.2])
    clean = mean(draw.named / IMAGES for draw in draws[0.0])
    return [
        _row("contamination_tile_found", found, 1.0, found, None),
        _row("contamination_tile_clean", clean, 0, 1, None),
    ]


def _row(figure: str, ours: float, peer: float, ratio: float, goal: float | None = 1.0) -> Row:
    return Row(figure=figure, ours=ours, peer=peer, ratio=ratio, goal=goal, unit="share", spread=(ratio, ratio))


def _draws(bench: Bench, product: str, share: float) -> list[_Draw]:
    found = [_draw(bench, product, share, seed) for seed in range(1 if bench.quick else DRAWS)]
    figures = (f"{d.found} of {d.defects} in {d.named}" for d in found)
    recall = (f"{d.recall:.2f}/{d.excluded:.2f}/{d.clean:.2f}" for d in found)
    bench.say(
        f"{product}, {IMAGES} images, {share:.0%} defects: found among the named: {', '.join(figures)}; recall as it "
        f"is/after --exclude all/clean: {', '.join(recall)}"
    )
    return found


def _draw(bench: Bench, product: str, share: float, seed: int) -> _Draw:
    light = "exp1_*" if product == "magnetic_tile" else "*"
    good = sorted((bench.data / product).glob(f"*/good/{light}"), key=str)
    bad = sorted((p for p in (bench.data / product / "test").glob(f"*/{light}") if p.parent.name != "good"), key=str)
    rng = np.random.default_rng(1000 + seed)
    count = round(IMAGES * share)
    well = [good[i] for i in rng.permutation(len(good))[: IMAGES - count]]
    order = rng.permutation(len(bad))
    planted, left = [bad[i] for i in order[:count]], [bad[i] for i in order[count:]]
    drawn = [*well, *planted]
    drawn = [drawn[i] for i in rng.permutation(len(drawn))]
    report = _fit(drawn, seed)
    named = {image.name for image in report.bank.set_aside}
    excluded = report if not named else _fit(drawn, seed, ("all",))
    clean = report if not planted else _fit(well, seed)
    return _Draw(
        defects=count,
        named=len(named),
        found=len(named & {_name(path) for path in planted}),
        recall=_recall(report, left),
        excluded=_recall(excluded, left),
        clean=_recall(clean, left),
    )


def _fit(paths: Sequence[Path], seed: int, exclude: Sequence[str] = ()) -> FitReport:
    recipe = Recipe(name="part", backbone=EFFICIENTNET_LITE0, image_size_px=workload.SIZE_PX, seed=seed)
    return fit([(_name(path), workload.read(path)) for path in paths], recipe, exclude=exclude, device="cpu")


def _recall(report: FitReport, defects: Sequence[Path]) -> float:
    inspector = Inspector({"part": report.bank}, device="cpu")
    found = inspector.inspect([("part", workload.read(path)) for path in defects])
    return mean(inspection.verdict is Verdict.REJECT for inspection in found)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
