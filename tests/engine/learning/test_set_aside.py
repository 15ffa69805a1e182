"""What a fit has set aside counts as above the threshold, whatever becomes of the rows."""

from dataclasses import replace
from pathlib import Path

import msgspec

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.export import export
from patchline.engine.bank.memory_bank import MemoryBank, SetAside
from patchline.engine.bank.store import GenerationStore, load_bank, save_bank
from patchline.engine.learning.ageing import fit_rows_kept
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.replay import replayed
from patchline.engine.learning.requests import Ageing, Rollback
from tests.engine.learning_worlds import SMALL, confirm, confirmation, everywhere, fitted_by_folds, take, unlearn

ASIDE = tuple(SetAside(name=f"odd-{n}", group=10 + n, counts=n < 2) for n in range(3))


def opened(folder: Path) -> Learner:
    """The bank of 10 frames, and two more that were set aside: k = ceil(13 * 0.8) = 11 lies beyond the ten."""
    bank, _ = fitted_by_folds(SMALL)
    calibration = calibrate(bank.calibration.scores, SMALL.false_reject_rate, set_aside=2)
    save_bank(replace(bank, calibration=calibration, set_aside=ASIDE), folder)
    return Learner.open(GenerationStore(folder))


def test_a_life_with_frames_set_aside_is_the_life_that_forgot_the_frame(tmp_path: Path) -> None:
    """Rows, scores and threshold, bit for bit; at each step the threshold is the largest score, as 12 frames count."""
    learner, never_saw = opened(tmp_path / "saw"), opened(tmp_path / "never")
    half = [row for rows, least in fit_rows_kept(learner.bank) for row in sorted(rows)[: len(rows) - least]]

    def looked_at(bank: MemoryBank) -> MemoryBank:
        assert bank.calibration.set_aside == 2
        assert bank.threshold == bank.calibration.scores[-1] > bank.calibration.scores[8]
        assert bank.calibration.rates_if_good_or_defects == (3 / 13, 1 / 11)
        return bank

    looked_at(confirm(learner, everywhere(1, 20)))
    looked_at(confirm(learner, everywhere(2, 30)))
    confirm(never_saw, everywhere(1, 20))
    for other in (learner, never_saw):
        looked_at(take(other, other.age(Ageing(feedback_id="a", operator="policy", rows=tuple(half)))))
    for number, shift in ((3, 400), (4, 2000)):
        looked_at(confirm(learner, everywhere(number, shift)))
        confirm(never_saw, everywhere(number, shift))
    back = learner.bank.generation
    looked_at(confirm(learner, everywhere(5, 4000)))
    looked_at(take(learner, learner.rollback(Rollback(feedback_id="r", operator="kim", generation=back))))
    unlearned = looked_at(unlearn(learner, "f2"))
    assert unlearned.sha256 == never_saw.bank.sha256
    assert unlearned.threshold == never_saw.bank.threshold
    assert list(replayed(GenerationStore(tmp_path / "saw"))) == [(n, None) for n in range(1, unlearned.generation + 1)]
    assert load_bank(tmp_path / "saw").calibration.set_aside == 2
    assert load_bank(tmp_path / "saw", 1).set_aside == ASIDE


def test_a_calibration_frame_that_is_learned_leaves_and_what_is_set_aside_stays(tmp_path: Path) -> None:
    """Then 11 frames count, of which nine have scores."""
    learner = opened(tmp_path)
    bank = confirm(learner, msgspec.structs.replace(confirmation(1), frame="fit-03"))
    assert (bank.calibration.frames, bank.calibration.set_aside) == (9, 2)
    assert bank.threshold == calibrate(bank.calibration.scores, 0.2, set_aside=2).threshold


def test_an_export_remembers(tmp_path: Path) -> None:
    """Names and count go with the bank, and it has the same SHA-256."""
    learner = opened(tmp_path / "bank")
    bank = confirm(learner, confirmation(1))
    out = export(GenerationStore(tmp_path / "bank"), 2, tmp_path / "out", operator="kim", time="2026-03-01T00:00:00Z")
    exported = out.bank(1)
    assert exported.sha256 == bank.sha256
    assert exported.set_aside == ASIDE
    assert confirm(Learner.open(out), confirmation(2)).calibration.set_aside == 2


def test_what_is_set_aside_is_part_of_what_a_bank_is() -> None:
    """Two banks that differ in it alone have two SHA-256."""
    bank, _ = fitted_by_folds(SMALL)
    other = replace(bank, calibration=replace(bank.calibration, set_aside=1))
    assert other.sha256 != bank.sha256
