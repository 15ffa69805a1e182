"""A line that changes its light: what a few confirmed frames do for it, by `lights.json` (five orders, lights 2 to 6).

Fit and calibrate under light 1; stream frames of light L, each inspected before it may influence anything, each
rejected one confirmed as good and learned; then inspect other frames of L and of light 1. Settings were chosen on
lights 2 and 3.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np

from patchline.engine.bank.events import StoredFrame
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import GenerationStore, save_bank
from patchline.engine.evaluation.metrics import image_auroc
from patchline.engine.features.weights import EFFICIENTNET_LITE0, pinned
from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import Confirmation
from patchline.engine.recipe import Recipe
from patchline.engine.types import Rows, Verdict
from tests.bench import workload
from tests.bench.bench import Bench
from tests.bench.remembered import remembered
from tests.bench.row import Row, from_values

PRODUCT = "magnetic_tile"
CHOSEN_ON = ("2", "3")
Roles = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One order under one light: false rejects, recall and AUROC before and after the stream, and what it took."""

    frr_before: float
    frr: float
    recall_before: float
    recall: float
    auroc_before: float
    auroc: float
    auroc_refit: float
    home_before: float
    home: float
    home_refit: float
    taps: int
    held: int
    rows: int


def recipe() -> Recipe:
    """What was chosen on lights 2 and 3."""
    return Recipe(
        name=PRODUCT,
        backbone=msgspec.structs.replace(pinned(EFFICIENTNET_LITE0), stages=("3", "4")),
        image_size_px=workload.SIZE_PX,
        coreset_fraction=0.04,
        least_rows=0,
        false_reject_rate=0.12,
        stream_scores=True,
        levelling=True,
        centring=True,
        patch_stride_px=16,
        score_patches=10,
        admission=0.85,
    )


def learning(bench: Bench) -> list[Row]:
    """False rejects, recall, taps and AUROC after the stream, means over all orders and lights 2 to 6."""
    lights = json.loads((bench.data / PRODUCT / "lights.json").read_text())
    orders = lights["orders"][:1] if bench.quick else lights["orders"]
    names = CHOSEN_ON[:1] if bench.quick else sorted(orders[0]["stream"])
    chosen = recipe()
    bench.say(
        f"EfficientNet-Lite0 at {chosen.image_size_px}, stages {', '.join(chosen.backbone.stages)}, patches every "
        f"{chosen.patch_stride_px} px, levelled={chosen.levelling}, centred={chosen.centring}; "
        f"{chosen.coreset_fraction:.0%} coreset, "
        f"admission {chosen.admission:g}, mean of the {chosen.score_patches} farthest patches, threshold at "
        f"{chosen.false_reject_rate:.0%} of calibration and stream as first seen; settings chosen on lights "
        f"{' and '.join(CHOSEN_ON)}"
    )
    with remembered(bench.build / "embeddings"):
        outcomes = measure(bench, lights, chosen, orders, names)
    for name in names:
        bench.say(f"light {name}: {_summary([found for (_, light), found in outcomes.items() if light == name])}")
    for number in range(len(orders)):
        bench.say(f"order {number}: {_summary([found for (order, _), found in outcomes.items() if order == number])}")
    bench.say(f"all:     {_summary(list(outcomes.values()))}")
    ours = {field: fmean(getattr(found, field) for found in outcomes.values()) for field in Outcome.__annotations__}
    return [
        from_values("learning_frr", ours["frr"], 0.10, unit="share", less_is_better=True, goal=1.0),
        from_values("learning_recall", ours["recall"], 0.55, unit="share", goal=1.0),
        from_values("learning_taps", ours["taps"], 12, unit="frames", less_is_better=True, goal=1.0),
        from_values("learning_auroc", ours["auroc"], 0.823, unit="AUROC", goal=1.0),
        from_values("learning_home", ours["home"], ours["home_refit"] - 0.005, unit="AUROC", goal=1.0),
    ]


def measure(
    bench: Bench, lights: Roles, chosen: Recipe, orders: Sequence[Roles], names: Sequence[str]
) -> dict[tuple[int, str], Outcome]:
    """The outcome of each order, by its number, under each light."""
    outcomes = {}
    for number, order in enumerate(orders):
        frames = Frames(bench, lights["scored"])
        kept: dict[str, Rows] = {}
        fitted = fit(
            frames.read(order["fit"]),
            chosen,
            calibration=frames.read(order["calibration"]),
            device="cpu",
            keep=partial(keep, kept),
        )
        for light in names:
            outcomes[number, light] = run(frames, fitted, kept, order, light)
            bench.say(f"  order {number}, light {light}: {_summary([outcomes[number, light]])}")
    return outcomes


class Frames:
    """The frames of the line, prepared; `scored` names by light those that are good and those that are defective."""

    def __init__(self, bench: Bench, scored: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self._folder = bench.data / PRODUCT
        self._scored = scored

    def read(self, names: Sequence[str]) -> list[workload.Named]:
        """Frames by name."""
        return [(name, workload.read(self._folder / name)) for name in names]

    def judge(self, inspector: Inspector, light: str) -> tuple[float, float, float]:
        """False-reject rate, recall and AUROC on the scored frames of a light, at the bank's threshold."""
        scores, rejected = {}, {}
        for kind in ("good", "defective"):
            images = self.read(self._scored[light][kind])
            found = inspector.inspect([(PRODUCT, image) for _, image in images])
            scores[kind] = [inspection.score for inspection in found]
            rejected[kind] = fmean(inspection.verdict is Verdict.REJECT for inspection in found)
        labels = np.repeat([False, True], [len(scores["good"]), len(scores["defective"])])
        auroc = image_auroc(np.array(scores["good"] + scores["defective"]), labels)
        return rejected["good"], rejected["defective"], auroc


def run(frames: Frames, fitted: FitReport, calibration: Mapping[str, Rows], order: Roles, light: str) -> Outcome:
    """One order under one light."""
    bank = fitted.bank
    inspector = Inspector({PRODUCT: bank}, device="cpu")
    before, home_before = frames.judge(inspector, light), frames.judge(inspector, "1")
    learner = learner_of(fitted, calibration)
    held = 0
    for name, image in frames.read(order["stream"][light]):
        (seen,) = inspector.inspect([(PRODUCT, image)])
        if seen.verdict is Verdict.REJECT:
            patches = inspector.embed(PRODUCT, image)
            for _ in learner.confirm_good(
                Confirmation(feedback_id=name, operator="bench", frame=name, patches=patches, score=seen.score)
            ):
                pass
            assert learner.proposal is not None
            held += learner.proposal.hold is not None
            inspector.swap(PRODUCT, learner.commit())
        else:
            learner.note_pass(seen.score)
    after, home = frames.judge(inspector, light), frames.judge(inspector, "1")
    refit, refit_home = refitted(frames, learner.bank, order, light)
    return Outcome(
        frr_before=before[0],
        frr=after[0],
        recall_before=before[1],
        recall=after[1],
        auroc_before=before[2],
        auroc=after[2],
        auroc_refit=refit,
        home_before=home_before[2],
        home=home[2],
        home_refit=refit_home,
        taps=learner.bank.generation - 1,
        held=held,
        rows=len(learner.bank.rows) - len(bank.rows),
    )


def refitted(frames: Frames, bank: MemoryBank, order: Roles, light: str) -> tuple[float, float]:
    """AUROC under the light and under light 1 of a fit to all frames of fit and stream, with as many rows as `bank`."""
    images = frames.read([*order["fit"], *order["stream"][light]])
    share = len(bank.rows) / (len(images) * bank.grid[0] * bank.grid[1])
    chosen = msgspec.structs.replace(bank.recipe, coreset_fraction=share)
    refit = fit(images, chosen, calibration=frames.read(order["calibration"]), device="cpu").bank
    inspector = Inspector({PRODUCT: refit}, device="cpu")
    return frames.judge(inspector, light)[2], frames.judge(inspector, "1")[2]


def keep(kept: dict[str, Rows], name: str, patches: Rows) -> StoredFrame:
    """Take a calibration frame's patches, int16 (P, D), instead of storing them."""
    kept[name] = patches
    return StoredFrame(name=name, sha256="", bytes=0)


def learner_of(fitted: FitReport, calibration: Mapping[str, Rows]) -> Learner:
    """The learner of a store of its own, in memory, that holds the fit."""
    store = GenerationStore(f"memory://{uuid4()}")
    save_bank(fitted.bank, store.where, [store.keep(name, patches) for name, patches in calibration.items()])
    return Learner.open(store)


def _summary(found: Sequence[Outcome]) -> str:
    mean = {field: fmean(getattr(outcome, field) for outcome in found) for field in Outcome.__annotations__}
    return (
        "good rejected {frr_before:.3f} -> {frr:.3f}, defects rejected {recall_before:.3f} -> {recall:.3f}, "
        "AUROC {auroc_before:.3f} -> {auroc:.3f} (refit {auroc_refit:.3f}), "
        "light 1 {home_before:.3f} -> {home:.3f} (refit {home_refit:.3f}), taps {taps:.1f} (held {held:.1f}), "
        "rows added {rows:.0f}"
    ).format(**mean)
