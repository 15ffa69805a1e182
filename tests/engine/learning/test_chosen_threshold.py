"""A threshold that a person chose, through all that is done to the bank afterwards."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.calibration import calibrate, calibrate_at
from patchline.engine.bank.events import ThresholdChosen
from patchline.engine.bank.export import export
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import GenerationStore, load_bank, save_bank
from patchline.engine.errors import CalibrationError, LearningError
from patchline.engine.fitting.fit import fit
from patchline.engine.learning.ageing import fit_rows_kept
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.replay import replay_errors, replayed
from patchline.engine.learning.requests import Ageing, Rollback, ThresholdChoice
from patchline.engine.recipe import Recipe
from tests.engine.conftest import textures
from tests.engine.learning_worlds import (
    SMALL,
    choose,
    confirm,
    confirmation,
    everywhere,
    fitted,
    fitted_by_folds,
    new_store,
    patches,
    take,
    unlearn,
)


def by(number: int = 1, /, *, rate: float | None = None, value: float | None = None) -> ThresholdChoice:
    return ThresholdChoice(
        feedback_id=f"choice-{number}", operator="lee", reason="stops", time="2026-02-02", rate=rate, value=value
    )


def by_folds(folder: Path, set_aside: int = 0) -> Learner:
    bank, _ = fitted_by_folds(SMALL)
    rate = SMALL.false_reject_rate
    save_bank(replace(bank, calibration=calibrate(bank.calibration.scores, rate, set_aside=set_aside)), folder)
    return Learner.open(GenerationStore(folder))


@pytest.mark.parametrize("what", [{"rate": 0.4}, {"value": 24.9}])
@pytest.mark.parametrize("first", [True, False], ids=["chosen before the frame", "chosen after it"])
@pytest.mark.parametrize("set_aside", [0, 2])
def test_a_life_without_a_frame_is_the_life_that_forgot_it(
    tmp_path: Path, what: dict[str, float], first: bool, set_aside: int
) -> None:
    """Learned, aged, thinned, rolled back, unlearned: rows, scores and threshold are those of the bank that never saw
    the frame, the threshold is at each step the one chosen, and a replay gives every generation. So it is with frames
    that the fit has set aside.
    """
    learner, never_saw = by_folds(tmp_path / "saw", set_aside), by_folds(tmp_path / "never", set_aside)
    half = [row for rows, least in fit_rows_kept(learner.bank) for row in sorted(rows)[: len(rows) - least]]

    def looked_at(bank: MemoryBank) -> MemoryBank:
        scores = bank.calibration.scores
        rate = what.get("rate")
        if rate is None:
            expected = calibrate_at(scores, what["value"], set_aside=set_aside)
        else:
            expected = calibrate(scores, rate, set_aside=set_aside)
        found = bank.calibration
        assert found.set_aside == set_aside
        assert (found.threshold, found.false_reject_rate, found.fixed) == (
            expected.threshold,
            expected.false_reject_rate,
            rate is None,
        )
        return bank

    if first:
        looked_at(choose(learner, by(**what)))
    confirm(learner, everywhere(2, 30))
    if not first:
        looked_at(choose(learner, by(**what)))
    looked_at(confirm(learner, everywhere(1, 20)))
    choose(never_saw, by(**what))
    confirm(never_saw, everywhere(1, 20))
    for other in (learner, never_saw):
        looked_at(take(other, other.age(Ageing(feedback_id="age", operator="kim", rows=tuple(half)))))
    for number, shift in ((3, 120), (4, 900), (5, 2000)):
        looked_at(confirm(learner, everywhere(number, shift)))
        confirm(never_saw, everywhere(number, shift))
    assert learner._head.state.thinned
    back = looked_at(learner.bank)
    confirm(learner, everywhere(6, 4000))
    choose(learner, by(2, value=1.0))
    assert confirm(learner, everywhere(7, 50)).threshold == 1.0
    rolled = take(learner, learner.rollback(Rollback(feedback_id="r", operator="kim", generation=back.generation)))
    assert looked_at(rolled).sha256 == back.sha256
    looked_at(confirm(learner, everywhere(8, 3000)))
    confirm(never_saw, everywhere(8, 3000))
    unlearned = looked_at(unlearn(learner, "f2"))
    assert unlearned.sha256 == never_saw.bank.sha256
    assert unlearned.threshold == never_saw.bank.threshold
    store = GenerationStore(tmp_path / "saw")
    assert list(replayed(store)) == [(number, None) for number in range(1, unlearned.generation + 1)]
    assert [flaw for _, flaw in store.verify() if flaw] == []
    assert (
        looked_at(confirm(Learner.open(store), everywhere(9, 60))).sha256
        == confirm(Learner.open(GenerationStore(tmp_path / "never")), everywhere(9, 60)).sha256
    )


def test_the_fits_own_rows_take_any_threshold_and_go_back(tmp_path: Path) -> None:
    """A choice changes no row and is stored with who made it and why; rolled back, the fit's threshold is back."""
    learner = Learner.open(new_store(tmp_path))
    first = learner.bank
    chosen = choose(learner, by(value=9.5))
    assert (chosen.generation, chosen.threshold, chosen.created) == (2, 9.5, "2026-02-02")
    assert np.array_equal(chosen.rows, first.rows)
    read = load_bank(tmp_path)
    assert (read.sha256, read.calibration.fixed) == (chosen.sha256, True)
    manifest = GenerationStore(tmp_path).manifest()
    assert manifest.event == ThresholdChosen(
        value=9.5, feedback_id="choice-1", operator="lee", reason="stops", time="2026-02-02"
    )
    assert not manifest.whole
    assert "does not follow the bank and promises nothing" in manifest.promise
    assert choose(learner, by(2, rate=0.5)).threshold == calibrate(first.calibration.scores, 0.5).threshold
    assert (
        take(learner, learner.rollback(Rollback(feedback_id="r", operator="kim", generation=1))).sha256 == first.sha256
    )
    assert not load_bank(tmp_path).calibration.fixed
    after = confirm(learner, confirmation(1))
    assert after.threshold == calibrate(after.calibration.scores, 0.2).threshold


@pytest.mark.parametrize("split", [False, True], ids=["folds", "further images for the threshold"])
def test_a_rate_chosen_later_gives_what_a_fit_at_it_gives(tmp_path: Path, recipe: Recipe, split: bool) -> None:
    """Threshold, scores and what is proved, bit for bit: the scores are the fit's own."""
    plain = msgspec.structs.replace(recipe, score_patches=2)
    held_out = textures(9, start=50) if split else None
    at_half = msgspec.structs.replace(plain, false_reject_rate=0.5)
    save_bank(fit(textures(10), plain, calibration=held_out, device="cpu").bank, tmp_path)
    wanted = fit(textures(10), at_half, calibration=held_out, device="cpu").bank
    chosen = choose(Learner.open(GenerationStore(tmp_path)), by(rate=0.5))
    assert chosen.calibration.scores.tolist() == wanted.calibration.scores.tolist()
    assert (chosen.threshold, chosen.promise) == (wanted.threshold, wanted.promise)
    assert chosen.calibration.proved == wanted.calibration.proved
    assert (chosen.calibration.proved is None) == split


def test_the_preview_tells_what_the_threshold_lets_pass(tmp_path: Path) -> None:
    """Rejects that clear, known defects that hide; it is not held, as a person chose it; a dry run writes nothing."""
    learner = Learner.open(new_store(tmp_path))
    take(learner, learner.confirm_defect(confirmation(8, shift=60, frame="scratch")))
    learner.note_reject("line-1/1", patches(901, shift=45))
    for _ in learner.choose_threshold(by(value=1e4)):
        pass
    proposal = learner.proposal
    assert proposal is not None
    preview = proposal.preview
    assert (preview.threshold_before, preview.threshold_after) == (learner.bank.threshold, 1e4)
    assert (preview.hidden, preview.missed, preview.cleared) == (("scratch",), ("scratch",), ("line-1/1",))
    assert proposal.hold is None
    assert GenerationStore(tmp_path).newest() == 2
    assert learner.commit().threshold == 1e4
    for _ in learner.choose_threshold(by(2, rate=0.2)):
        pass
    proposal = learner.proposal
    assert proposal is not None
    assert (proposal.preview.caught, proposal.preview.missed) == (("scratch",), ())


def test_what_cannot_be_chosen(tmp_path: Path) -> None:
    """A rate below what the frames can aim at names the lowest; neither, both, and no score at all are refused."""
    learner = Learner.open(new_store(tmp_path))
    with pytest.raises(CalibrationError, match=r"0.1 cannot be aimed at with 5 .*: they can aim at 0.1667 or more"):
        choose(learner, by(rate=0.1))
    confirm(learner, confirmation(1, frame="calibration-3"))
    with pytest.raises(CalibrationError, match=r"0.17 cannot be aimed at with 4 .*: they can aim at 0.2 or more"):
        choose(learner, by(rate=0.17))
    for what in ({}, {"rate": 0.3, "value": 3.0}):
        with pytest.raises(LearningError, match="by a false-reject rate or by a value: expected one of the two"):
            choose(learner, by(**what))
    for value in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(LearningError, match=r"threshold .*: expected a finite value above 0"):
            choose(learner, by(value=value))
    assert learner.bank.generation == 2


def test_a_bank_without_calibration_frames_takes_a_threshold_and_nothing_else(tmp_path: Path) -> None:
    """Such were banks that could not learn: their rows never change, so the scores of the fit still hold."""
    bank = fitted()[0]
    save_bank(bank, tmp_path)
    store = GenerationStore(tmp_path)
    with pytest.raises(LearningError, match="the calibration frames were not kept with the bank"):
        Learner.open(store)
    learner = Learner.open(store, learns=False)
    with pytest.raises(CalibrationError, match=r"they can aim at 0.1667 or more"):
        choose(learner, by(rate=0.1))
    assert choose(learner, by(rate=0.5)).threshold == calibrate(bank.calibration.scores, 0.5).threshold
    assert choose(learner, by(2, value=3.0)).calibration.scores.tolist() == bank.calibration.scores.tolist()
    with pytest.raises(LearningError, match="the calibration frames were not kept with the bank"):
        confirm(learner, confirmation(1))
    back = take(learner, learner.rollback(Rollback(feedback_id="r", operator="kim", generation=1)))
    assert back.sha256 == bank.sha256 == load_bank(tmp_path).sha256
    assert list(replayed(store)) == [(number, None) for number in range(1, 5)]


def test_a_bank_by_folds_without_its_frames_takes_a_threshold_too(tmp_path: Path) -> None:
    """It says the folds and groups of frames that it does not have: it is replayed and exported all the same."""
    bank, _ = fitted_by_folds(SMALL)
    groups = tuple(n // 2 for n in range(10))
    grouped = calibrate(bank.calibration.scores, SMALL.false_reject_rate, np.array(groups, np.int32))
    save_bank(replace(bank, calibration_patches=(), calibration_groups=groups, calibration=grouped), tmp_path / "from")
    store = GenerationStore(tmp_path / "from")
    chosen = choose(Learner.open(store, learns=False), by(rate=0.4))
    assert chosen.threshold < bank.threshold
    assert [flaw for _, flaw in replay_errors(store)] == [None, None]
    out = export(store, 2, tmp_path / "to", operator="lee", time="2026-03-01")
    assert out.bank().sha256 == chosen.sha256
    assert out.bank().calibration_groups == groups
