"""Slips of the finger: of defects confirmed as good by mistake, and of good frames of a new light, what is held?

By `lights.json`, some orders, under each light a line of its own. A few defects are known; then other defects and good
frames come in one drawn order, and each is confirmed as good by one operator. What is held waits for a second person,
who lets the good frames through. At the end what slipped through is unlearned, and the bank compared with one that was
never told of it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
from msgspec import structs

from patchline.engine.fitting.fit import FitReport, fit
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import Confirmation, Unlearning
from patchline.engine.types import Rows, Verdict
from tests.bench.bench import Bench
from tests.bench.learning import CHOSEN_ON, PRODUCT, Frames, Roles, keep, learner_of, recipe
from tests.bench.remembered import remembered
from tests.bench.row import Row, from_values
from tests.bench.workload import Named

KNOWN, SLIPS = 10, 50
"""Defects that are known, and others that are confirmed as good."""
ORDERS = 2
"""Orders of the five that are gone through: unlearning one slip after another takes its time."""
SHARES = (0.4, 0.8)
"""What a recipe may ask to be held (`hold_slips`): what costs about a tenth of the good frames, and nearly all."""


@dataclass(frozen=True)
class Tap:
    """One frame confirmed as good: whether it is, whether it had been rejected, and whether it was held."""

    frame: str
    good: bool
    rejected: bool
    held: bool


@dataclass(frozen=True)
class Line:
    """All taps of one order under one light; whether unlearning the slips gave the bank that never saw them."""

    taps: Sequence[Tap]
    unlearned: bool


def held(lines: Sequence[Line], *, good: bool, rejected: bool = False) -> float:
    """The share of taps held, of good frames or of defects; of those that had been rejected, or of all."""
    return fmean(tap.held for line in lines for tap in line.taps if tap.good == good and (tap.rejected or not rejected))


def guard(bench: Bench) -> list[Row]:
    """Share of defects held and of good frames held, and whether slips can be unlearned; means over all lines."""
    lights = json.loads((bench.data / PRODUCT / "lights.json").read_text())
    orders = lights["orders"][: 1 if bench.quick else ORDERS]
    names = CHOSEN_ON[:1] if bench.quick else sorted(orders[0]["stream"])
    good = len(orders[0]["stream"][names[0]]) + len(lights["scored"][names[0]]["good"])
    bench.say(
        f"{KNOWN} known defects, {SLIPS} others confirmed as good, and all good frames of the light that share no "
        f"piece with the fit (about {good}), in one drawn order; {len(orders)} orders, lights {', '.join(names)}; the "
        f"recipe of `learning`, which holds what would hide a known defect, and so large a share of slips:"
    )
    rows, everything = [], list[Line]()
    with remembered(bench.build / "embeddings"):
        for share in SHARES[-1:] if bench.quick else SHARES:
            lines = _lines(bench, lights, orders, names, share)
            bench.say(f"{share:.0%}: {_summary(lines)}")
            everything += lines
            label = f"{100 * share:.0f}"
            rows += [
                from_values(f"guard_{label}_slips", held(lines, good=False), 0.90, unit="share", goal=1.0),
                from_values(
                    f"guard_{label}_good", held(lines, good=True), 0.10, unit="share", less_is_better=True, goal=1.0
                ),
            ]
    unlearned = fmean(line.unlearned for line in everything)
    return [*rows, from_values("guard_unlearned", unlearned, 1.0, unit="share of lines, bit for bit", goal=1.0)]


def _lines(bench: Bench, lights: Roles, orders: Sequence[Roles], names: Sequence[str], share: float) -> list[Line]:
    """Every order under every light, where such a share of slips is to be held."""
    found = []
    for number, order in enumerate(orders):
        frames, kept = Frames(bench, lights["scored"]), dict[str, Rows]()
        careful = structs.replace(recipe(), hold_slips=share)
        calibration = frames.read(order["calibration"])
        fitted = fit(
            frames.read(order["fit"]), careful, calibration=calibration, device="cpu", keep=partial(keep, kept)
        )
        for light in names:
            found.append(_line(frames, fitted, kept, order, lights["scored"], light, number))
            bench.say(f"  order {number}, light {light}: {_summary(found[-1:])}")
    return found


def _line(
    frames: Frames,
    fitted: FitReport,
    calibration: Mapping[str, Rows],
    order: Roles,
    scored: Roles,
    light: str,
    seed: int,
) -> Line:
    """One order under one light."""
    draw = np.random.default_rng(seed)
    defects = [scored[light]["defective"][i] for i in draw.permutation(len(scored[light]["defective"]))]
    known, slips = frames.read(defects[:KNOWN]), frames.read(defects[KNOWN : KNOWN + SLIPS])
    good = frames.read([*order["stream"][light], *scored[light]["good"]])
    told = [(named, True) for named in good] + [(named, False) for named in slips]
    inspector = Inspector({PRODUCT: fitted.bank}, device="cpu")
    learner, never_told = (_knowing(learner_of(fitted, calibration), inspector, known) for _ in range(2))
    taps = []
    for at in draw.permutation(len(told)):
        (name, image), is_good = told[at]
        (seen,) = inspector.inspect([(PRODUCT, image)])
        patches = inspector.embed(PRODUCT, image)
        if seen.verdict is Verdict.REJECT:
            learner.note_reject(name, patches)
        request = Confirmation(feedback_id=name, operator="bench", frame=name, patches=patches, score=seen.score)
        approved = structs.replace(request, feedback_id=f"approved {name}", approved_by="other")
        waits = _confirm(learner, request)
        taps.append(Tap(name, is_good, seen.verdict is Verdict.REJECT, waits))
        if is_good:
            _confirm(never_told, approved)
            if waits:
                _confirm(learner, approved)
        inspector.swap(PRODUCT, learner.bank)
    for tap in taps:
        if not tap.good and not tap.held:
            for _ in learner.unlearn(Unlearning(feedback_id=f"back {tap.frame}", operator="bench", frame=tap.frame)):
                pass
            learner.commit()
    return Line(taps, learner.bank.sha256 == never_told.bank.sha256)


def _confirm(learner: Learner, request: Confirmation) -> bool:
    """Confirm a frame as good; whether it is held."""
    for _ in learner.confirm_good(request):
        pass
    assert learner.proposal is not None
    waits = learner.proposal.hold is not None
    learner.commit()
    return waits


def _knowing(learner: Learner, inspector: Inspector, known: Sequence[Named]) -> Learner:
    """The learner, once it has been shown some defects."""
    for name, image in known:
        patches = inspector.embed(PRODUCT, image)
        request = Confirmation(feedback_id=f"known {name}", operator="bench", frame=name, patches=patches)
        for _ in learner.confirm_defect(request):
            pass
        learner.commit()
    return learner


def _summary(lines: Sequence[Line]) -> str:
    of = partial(held, lines)
    return (
        f"held {of(good=False):.3f} of defects and {of(good=True):.3f} of good frames; of those rejected "
        f"{of(good=False, rejected=True):.3f} and {of(good=True, rejected=True):.3f}; "
        f"{sum(line.unlearned for line in lines)} of {len(lines)} banks equal the one that never saw a slip"
    )
