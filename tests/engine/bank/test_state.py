"""From a bank to the state of its learning and back, and the calibration that goes with it."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.calibration import Calibration, calibrate, calibrate_at, calibrate_with_stream
from patchline.engine.bank.events import Chain, ThresholdChosen
from patchline.engine.bank.figures import proved_rate
from patchline.engine.bank.manifest import LearningState
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.state import (
    BUDGET_AT_LEAST,
    bank_of,
    calibration_of,
    first_state,
    groups_that_count,
    state_of,
)
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


AT_HALF = Chain(chosen=ThresholdChosen(rate=0.5))
AT_VALUE = Chain(chosen=ThresholdChosen(value=2.5))


def same(found: Calibration, expected: Calibration) -> bool:
    return (found.threshold, found.false_reject_rate, found.fixed, found.proved, found.scores.tolist()) == (
        expected.threshold,
        expected.false_reject_rate,
        expected.fixed,
        expected.proved,
        expected.scores.tolist(),
    )


def test_a_chosen_rate_is_followed_and_a_chosen_value_stays() -> None:
    """Of the fit's rows by the fit's own scores; of others by theirs. The rate's bound is that of a fit at the rate."""
    first, state = first_state(BANK), learned(first_state(BANK))
    of_fit, scores = BANK.calibration.scores, np.array([9.0, 2.0, 4.0, 3.0, 1.0])
    assert same(calibration_of(BANK, first, scores, AT_HALF, ALL), calibrate(of_fit, 0.5))
    assert same(calibration_of(BANK, state, scores, AT_HALF, ALL), calibrate(scores, 0.5))
    assert same(calibration_of(BANK, first, scores, AT_VALUE, ALL), calibrate_at(of_fit, 2.5))
    assert same(calibration_of(BANK, state, scores, AT_VALUE, ALL), calibrate_at(scores, 2.5))
    by_folds = replace(BANK, folds=5, calibration=replace(BANK.calibration, proved=0.9))
    assert calibration_of(by_folds, first, scores, AT_HALF, ALL).proved == proved_rate(0.5, 5, 5)
    assert calibration_of(by_folds, first, scores, AT_VALUE, ALL).proved is None
    assert calibration_of(by_folds, state, scores, AT_HALF, ALL).proved is None


def test_what_an_export_brought_is_its_first_calibration() -> None:
    """Until another threshold is chosen there; then that one counts."""
    brought = ThresholdChosen(value=7.0)
    first = replace(BANK, calibration=calibrate_at(BANK.calibration.scores, 7.0))
    state, scores = first_state(BANK), np.array([9.0, 2.0, 4.0, 3.0, 1.0])
    there = Chain(chosen=brought, chosen_first=brought)
    assert calibration_of(first, state, scores, there, ALL) is first.calibration
    later = replace(there, chosen=AT_HALF.chosen)
    assert same(calibration_of(first, state, scores, later, ALL), calibrate(BANK.calibration.scores, 0.5))


def test_a_chosen_rate_that_too_few_are_left_for_gives_way() -> None:
    """As the recipe's does; the frames that were learned no longer count."""
    state, scores = learned(first_state(BANK)), np.array([9.0, 2.0, 4.0, 3.0, 1.0])
    chain = Chain(chosen=ThresholdChosen(rate=0.17))
    four = np.array([True, True, True, True, False])
    assert calibration_of(BANK, state, scores, chain, ALL).false_reject_rate == 0.17
    found = calibration_of(BANK, state, scores, chain, four)
    assert (found.false_reject_rate, found.threshold) == (0.2, 9.0)


def test_the_stream_widens_what_a_rate_can_be_and_moves_no_value() -> None:
    """Where the recipe adds its frames they count for the rate; a value is chosen and stays."""
    following, state = with_recipe(stream_scores=True), first_state(BANK)
    scores = np.array([9.0, 2.0, 4.0, 3.0, 1.0])
    passed, confirmed = (0.5, 0.6, 0.7), {"f0": 7.0}
    chain = Chain(passed=passed, scores=confirmed, chosen=ThresholdChosen(rate=0.1))
    assert groups_that_count(following, chain, ALL) == 9
    found = calibration_of(following, state, scores, chain, ALL)
    assert same(found, calibrate_with_stream(scores, np.array(passed), np.array([7.0]), 0.1))
    assert calibration_of(following, state, scores, replace(chain, passed=()), ALL).false_reject_rate == 0.1429
    at_value = replace(chain, chosen=AT_VALUE.chosen)
    assert same(calibration_of(following, learned(state), scores, at_value, ALL), calibrate_at(scores, 2.5))


def test_groups_that_count_are_those_that_vouch() -> None:
    """Each frame its own, or as the fit grouped them; where no frame was kept, those of the fit's own calibration."""
    four = np.array([True, True, True, True, False])
    assert groups_that_count(BANK, Chain(passed=(1.0,)), four) == 4
    assert groups_that_count(replace(BANK, calibration_groups=(0, 0, 1, 1, 2)), Chain(), four) == 2
    assert groups_that_count(BANK, Chain(), np.zeros(0, dtype=bool)) == 5
