"""From a bank to the state of its learning and back, and the calibration that goes with it."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.calibration import calibrate, calibrate_with_stream
from patchline.engine.bank.events import Chain
from patchline.engine.bank.manifest import LearningState
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.state import BUDGET_AT_LEAST, bank_of, calibration_of, first_state, state_of
from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.errors import EngineError
from tests.engine.learning_worlds import RECIPE, SCALE, fitted, patches

BANK = fitted()[0]
ALL = np.ones(5, dtype=bool)


def with_recipe(**changed: object) -> MemoryBank:
    return replace(BANK, recipe=msgspec.structs.replace(RECIPE, **changed))


def learned(state: OnlineCoreset, frames: int = 1) -> OnlineCoreset:
    for number in range(frames):
        state, _ = learn(state, f"f{number}", patches(700 + number, shift=90))
    return state


def test_a_recipe_may_name_its_row_budget() -> None:
    """Without one it is four times the fit's rows, and 10,000 at least; below the fit's rows it is refused."""
    assert first_state(BANK).budget == 400
    assert first_state(with_recipe(row_budget=24)).budget == 24
    assert first_state(with_recipe(row_budget=None)).budget == BUDGET_AT_LEAST
    many = np.zeros((2501, 6), dtype=np.int16)
    numbers = np.zeros(2501, dtype=np.int32)
    large = replace(with_recipe(row_budget=None), rows=many, row_frame=numbers, row_patch=numbers)
    assert first_state(large).budget == 10_004
    with pytest.raises(EngineError, match="row budget is 23, expected at least the fit's 24 rows"):
        first_state(with_recipe(row_budget=23))


def test_the_admission_radius_is_a_share_of_the_covering_radius() -> None:
    """In the units of the stored integers, as the recipe says."""
    sq_fit = round((BANK.covering_radius / SCALE) ** 2)
    state = first_state(with_recipe(admission=0.5))
    assert (state.sq_fit, state.sq_admission, state.sq_first) == (sq_fit, math.ceil(sq_fit / 4), math.ceil(sq_fit / 4))
    assert state.frames == tuple(frame.name for frame in BANK.frames)


def test_a_stored_generation_gives_its_state_back() -> None:
    """With the radii that its manifest names; without them it is the first state."""
    first = first_state(BANK)
    state = learned(first, 3)
    bank = bank_of(BANK, BANK, state, BANK.calibration, "2026-01-02")
    again = state_of(bank, LearningState.of(state), first)
    for field in ("sq_admission", "sq_first", "sq_fit", "budget", "frames", "thinned"):
        assert getattr(again, field) == getattr(state, field)
    assert np.array_equal(again.rows, state.rows)
    assert np.array_equal(again.core, state.core)
    assert state_of(bank, None, first) is first


def test_the_next_bank_names_what_joined() -> None:
    """Rows of the state, the next number, the frames' first generations; the fit's radius until rows are thinned."""
    state = learned(first_state(BANK))
    before = replace(BANK, generation=4)
    bank = bank_of(before, BANK, state, BANK.calibration, "2026-01-02")
    assert (bank.generation, bank.created) == (5, "2026-01-02")
    assert [(frame.name, frame.generation) for frame in bank.frames[-2:]] == [("fit-5", 1), ("f0", 5)]
    assert bank.covering_radius == BANK.covering_radius
    assert np.array_equal(bank.rows, state.rows)
    assert np.array_equal(bank.row_patch, state.row_patch)
    assert np.array_equal(bank.row_frame, state.row_frame)


def test_a_thinned_bank_has_the_proven_radius() -> None:
    """In the units of embeddings: the root of the state's, times the scale."""
    small = with_recipe(row_budget=30)
    state = learned(first_state(small), 4)
    assert state.thinned
    bank = bank_of(small, small, state, BANK.calibration, "")
    assert bank.covering_radius == math.sqrt(state.sq_proven) * SCALE > BANK.covering_radius


def test_the_calibration_follows_the_rows() -> None:
    """Of the fit's rows it is the fit's; of others the scores' own; with the stream's scores where the recipe asks."""
    first, scores = first_state(BANK), np.array([9.0, 2.0, 4.0, 3.0, 1.0])
    state = learned(first)
    chain = Chain(scores={"f0": 7.0}, passed=(0.5, 0.6, 0.7))
    assert calibration_of(BANK, first, scores, chain, ALL) is BANK.calibration
    other = calibration_of(BANK, state, scores, chain, ALL)
    assert other.threshold == calibrate(scores, 0.2).threshold
    assert other.scores.tolist() == [1.0, 2.0, 3.0, 4.0, 9.0]
    following = with_recipe(stream_scores=True)
    expected = calibrate_with_stream(scores, np.array([0.5, 0.6, 0.7]), np.array([7.0]), 0.2)
    for rows in (first, state):
        assert calibration_of(following, rows, scores, chain, ALL).threshold == expected.threshold == 7.0
    assert calibration_of(following, first, scores, Chain(), ALL) is BANK.calibration
    for stream in (Chain(passed=(99.0,)), Chain(scores={"a": 99.0})):
        assert calibration_of(following, first, scores, stream, ALL).threshold == 99.0


def test_other_rows_in_the_same_number_are_not_the_fit() -> None:
    """The fit's calibration is for the fit's rows alone."""
    rows = BANK.rows.copy()
    rows[0, 0] += 1
    other = first_state(replace(BANK, rows=rows))
    scores = np.array([9.0, 2.0, 4.0, 3.0, 1.0])
    assert calibration_of(BANK, other, scores, Chain(), ALL).threshold == calibrate(scores, 0.2).threshold
