"""From a memory bank as it judges to the state of its learning, and back; every value follows from the event log."""

import math

import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.calibration import Calibration, calibrate, calibrate_at, calibrate_with_stream
from patchline.engine.bank.events import Chain
from patchline.engine.bank.figures import proved_rate
from patchline.engine.bank.manifest import LearningState, Manifest
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.bank.rates import rate_in_reach
from patchline.engine.coreset.online_state import OnlineCoreset, begin, resume, sq_integer

BUDGET, BUDGET_AT_LEAST = 4, 10_000
"""Row budget of a recipe that names none: in rows of its fit, and no fewer than so many. Thinning doubles the proven
radius and takes a quarter of the rows; below this size it would spare no time worth the loss.
"""


def first_state(bank: MemoryBank) -> OnlineCoreset:
    """The state that a fit leaves, from generation 1; raises EngineError for a budget below its rows."""
    recipe = bank.recipe
    budget = max(BUDGET * len(bank.rows), BUDGET_AT_LEAST) if recipe.row_budget is None else recipe.row_budget
    return begin(
        bank.rows,
        bank.row_frame,
        bank.row_patch,
        tuple(frame.name for frame in bank.frames),
        sq_covering=sq_integer(bank.covering_radius, bank.scale),
        sq_spacing=None if bank.fold_radius is None else sq_integer(bank.fold_radius, bank.scale),
        row_fold=bank.row_fold,
        folds=bank.folds,
        admission=recipe.admission,
        budget=budget,
    )


def state_of(bank: MemoryBank, learning: LearningState | None, first: OnlineCoreset) -> OnlineCoreset:
    """The state that a stored generation was made with; `learning` is None where nothing had been learned."""
    if learning is None:
        return first
    return resume(
        bank.rows,
        bank.row_frame,
        bank.row_patch,
        tuple(frame.name for frame in bank.frames),
        sq_admission=learning.sq_admission,
        sq_first=learning.sq_first,
        sq_fit=learning.sq_fit,
        budget=learning.budget,
        row_fold=bank.row_fold,
        folds=bank.folds,
        thinned_at_first=learning.thinned_at_first,
    )


def bank_of(
    before: MemoryBank, first: MemoryBank, state: OnlineCoreset, calibration: Calibration, created: str
) -> MemoryBank:
    """The next generation, with the rows of a state.

    Its covering radius is the fit's until rows have been thinned, and the proven one from then on.

    Args:
        before: the generation before.
        first: generation 1.
        state: the rows.
        calibration: the threshold that goes with them.
        created: when, in ISO 8601.
    """
    origins = {frame.name: frame for frame in before.frames}
    generation = before.generation + 1
    return MemoryBank(
        recipe=first.recipe,
        generation=generation,
        rows=state.rows,
        scale=first.scale,
        frames=tuple(
            origins[name] if name in origins else FrameOrigin(name=name, generation=generation) for name in state.frames
        ),
        row_frame=state.row_frame,
        row_patch=state.row_patch,
        grid=first.grid,
        covering_radius=math.sqrt(state.sq_proven) * first.scale if state.thinned else first.covering_radius,
        calibration=calibration,
        folds=first.folds,
        fold_radius=first.fold_radius,
        created=created,
    )


def vouching(first: Manifest, chain: Chain) -> NDArray[np.bool_]:
    """Which calibration frames still vouch for the threshold, bool (n,): those that have not been learned since.

    A learned frame is known by its name or by its embeddings. Until a frame is unlearned, its rows are in the bank and
    would vouch for themselves. In a bank that began before version 3 all do, as they did then.

    Args:
        first: the manifest of generation 1.
        chain: what has been confirmed so far.
    """
    learned = set(chain.frames) | {frame.sha256 for frame in chain.frames.values()}
    stays = [first.version < 3 or not {frame.name, frame.sha256} & learned for frame in first.calibration]
    return np.array(stays, dtype=bool)


def calibration_of(
    first: MemoryBank, state: OnlineCoreset, scores: NDArray[np.float64], chain: Chain, vouches: NDArray[np.bool_]
) -> Calibration:
    """The calibration of a state of the rows: conformal, over the calibration frames' scores.

    No confirmed frame vouches for itself: a calibration frame that is learned leaves, and where the recipe adds the
    scores of the stream, they are those as first seen. Otherwise, where the rows are those of the fit and no frame has
    left, the scores are the fit's too: where frames were given for the threshold alone, the fit scored them before they
    were rounded to stored integers. The rate is the one last chosen, and else the recipe's; where too few frames are
    left for it, the best that they can aim at is taken. A value that was chosen stays. What the fit set aside counts
    ever after.

    Args:
        first: generation 1.
        state: the rows.
        scores: float64 (n,), of the calibration frames by these rows, in the order in which they are stored.
        chain: what has been confirmed, has passed and was chosen so far.
        vouches: bool (n,), the frames that count.

    Raises:
        CalibrationError: no frame is left.
    """
    recipe, chosen, set_aside = first.recipe, chain.chosen, first.calibration.set_aside
    groups = None
    if first.calibration_groups and len(vouches):
        groups = np.array(first.calibration_groups, dtype=np.int32)[vouches]
    if not vouches.all():
        scores = scores[vouches]
    value = None if chosen is None else chosen.value
    rate = recipe.false_reject_rate if chosen is None or chosen.rate is None else chosen.rate
    if value is None and recipe.stream_scores and (chain.passed or chain.scores):
        confirmed = np.array(list(chain.scores.values()), dtype=np.float64)
        in_reach = rate_in_reach(groups_that_count(first, chain, vouches), rate)
        return calibrate_with_stream(scores, np.array(chain.passed), confirmed, in_reach, groups, set_aside)
    proved = None
    if vouches.all() and len(state.rows) == len(first.rows) and np.array_equal(state.rows, first.rows):
        if chosen == chain.chosen_first:
            return first.calibration
        scores, groups = first.calibration.scores, first.calibration.groups
        if first.calibration.proved is not None:  # its conditions do not hang on the rate
            proved = proved_rate(rate, first.calibration.frames, first.folds)
    if value is not None:
        return calibrate_at(scores, value, groups, set_aside)
    return calibrate(scores, rate_in_reach(groups_that_count(first, chain, vouches), rate), groups, proved, set_aside)


def groups_that_count(first: MemoryBank, chain: Chain, vouches: NDArray[np.bool_]) -> int:
    """How many groups of good frames a threshold rests on: those set aside included, and those of the stream where the
    recipe adds them.

    Args:
        first: generation 1.
        chain: what has been confirmed and has passed so far.
        vouches: bool (n,), the calibration frames that count; n is 0 where none were kept, so that no row can change.
    """
    if not len(vouches):
        held_out = first.calibration.group_count
    elif first.calibration_groups:
        held_out = len(np.unique(np.array(first.calibration_groups)[vouches]))
    else:
        held_out = int(vouches.sum())
    stream = len(chain.passed) + len(chain.scores) if first.recipe.stream_scores else 0
    return held_out + first.calibration.set_aside + stream
