"""From a memory bank as it judges to the state of its learning, and back; every value follows from the event log."""

import math

import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.calibration import Calibration, calibrate, calibrate_with_stream
from patchline.engine.bank.events import Chain
from patchline.engine.bank.manifest import LearningState
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.coreset.online import OnlineCoreset, begin, resume, sq_integer

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
        created=created,
    )


def calibration_of(first: MemoryBank, state: OnlineCoreset, scores: NDArray[np.float64], chain: Chain) -> Calibration:
    """The calibration of a state of the rows: conformal, over the calibration frames' scores.

    No confirmed frame vouches for itself: calibration frames are never learned, and where the recipe adds the scores of
    the stream, they are those as first seen. Otherwise, where the rows are those of the fit, so is the calibration: the
    fit scored its frames before they were rounded to stored integers.

    Args:
        first: generation 1.
        state: the rows.
        scores: float64 (n,), of the calibration frames by these rows.
        chain: what has been confirmed and has passed so far.
    """
    recipe = first.recipe
    if recipe.stream_scores and (chain.passed or chain.scores):
        confirmed = np.array(list(chain.scores.values()), dtype=np.float64)
        return calibrate_with_stream(scores, np.array(chain.passed), confirmed, recipe.false_reject_rate)
    if len(state.rows) == len(first.rows) and np.array_equal(state.rows, first.rows):
        return first.calibration
    return calibrate(scores, recipe.false_reject_rate)
