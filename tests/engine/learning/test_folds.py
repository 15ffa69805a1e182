"""A bank by folds through its life: a calibration frame never meets a row of its own fold, whatever is done to the
rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.calibration import calibrate
from patchline.engine.bank.export import export
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.state import first_state, vouching
from patchline.engine.bank.store import GenerationStore, load_bank, save_bank
from patchline.engine.coreset.online_state import OnlineCoreset, begin
from patchline.engine.errors import LearningError
from patchline.engine.learning.ageing import fit_rows_kept
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.learning.replay import replayed
from patchline.engine.learning.requests import Ageing, Rollback
from patchline.engine.types import Rows
from tests.engine.learning_worlds import (
    SCALE,
    SMALL,
    confirm,
    confirmation,
    everywhere,
    fitted_by_folds,
    patches,
    take,
    unlearn,
)

Row = tuple[str, int]


def opened(folder: Path) -> Learner:
    save_bank(fitted_by_folds(SMALL)[0], folder)
    return Learner.open(GenerationStore(folder))


def of(bank: MemoryBank) -> list[Row]:
    return [bank.provenance(row) for row in range(len(bank.rows))]


def age(learner: Learner, rows: Sequence[Row], feedback_id: str = "ageing") -> MemoryBank:
    return take(learner, learner.age(Ageing(feedback_id=feedback_id, operator="policy", rows=tuple(rows))))


def scored_by_the_others(bank: MemoryBank, frames: dict[str, Rows], folds: Sequence[int]) -> list[float]:
    """Scores by banks that have the rows of the other folds and no others; each is a bank of one fold."""
    found = []
    for values, fold in zip(frames.values(), folds, strict=True):
        rows = bank.rows[bank.row_fold != fold]
        numbers = np.zeros(len(rows), dtype=np.int32)
        state = begin(rows, numbers, numbers, ("others",), sq_covering=1, budget=len(rows))
        found.append(ReferenceFrames(state).with_frame("x", "reject", values).scores(SCALE, bank.recipe.neighbours)[0])
    return sorted(found)


def state_of_newest(learner: Learner) -> OnlineCoreset:
    return learner._head.state


def test_a_life_without_a_frame_is_the_life_that_forgot_it(tmp_path: Path) -> None:
    """Learned, thinned with r doubled twice and more, half of each fold aged, rolled back, learned on, unlearned.

    At each step every calibration frame's score is the one by the rows of the other folds alone, and in the end rows,
    their order, scores and threshold are, bit for bit, those of the bank that never saw the frame; a replay of the log
    says the same of every generation.
    """
    _, frames = fitted_by_folds(SMALL)
    learner, never_saw = opened(tmp_path / "saw"), opened(tmp_path / "never")
    first = learner.bank
    folds = first.calibration_folds
    doublings: set[int] = set()

    def looked_at(bank: MemoryBank) -> None:
        assert bank.calibration.scores.tolist() == scored_by_the_others(bank, frames, folds)
        assert set(range(5)) <= set(bank.row_fold.tolist())
        doublings.add(state_of_newest(learner).sq_admission)

    looked_at(first)
    half = [row for rows, least in fit_rows_kept(first) for row in sorted(rows)[: len(rows) - least]]
    looked_at(confirm(learner, everywhere(1, 20)))
    looked_at(confirm(learner, everywhere(2, 30)))
    confirm(never_saw, everywhere(1, 20))
    for other in (learner, never_saw):
        bank = age(other, half)
        assert sum(row in set(of(bank)) for row in of(first)) == len(first.rows) // 2
    looked_at(learner.bank)
    for number, shift in ((3, 120), (4, 400), (5, 900), (6, 2000)):
        looked_at(confirm(learner, everywhere(number, shift)))
        confirm(never_saw, everywhere(number, shift))
    back = learner.bank.generation
    looked_at(confirm(learner, everywhere(7, 4000)))
    rolled_back = take(learner, learner.rollback(Rollback(feedback_id="r", operator="kim", generation=back)))
    assert rolled_back.sha256 == learner._head.store.bank(back).sha256
    looked_at(rolled_back)
    looked_at(confirm(learner, everywhere(8, 3000)))
    confirm(never_saw, everywhere(8, 3000))
    assert len(doublings) >= 4
    assert max(doublings) >= 16 * min(doublings)
    unlearned = unlearn(learner, "f2")
    looked_at(unlearned)
    assert unlearned.sha256 == never_saw.bank.sha256
    assert of(unlearned) == of(never_saw.bank)
    assert unlearned.threshold == never_saw.bank.threshold
    assert unlearned.covering_radius == never_saw.bank.covering_radius
    generations = unlearned.generation
    assert list(replayed(learner._head.store)) == [(number, None) for number in range(1, generations + 1)]
    again = Learner.open(GenerationStore(tmp_path / "saw"))
    assert again.bank.sha256 == unlearned.sha256
    assert confirm(again, everywhere(9, 50)).sha256 == confirm(learner_of(tmp_path / "never"), everywhere(9, 50)).sha256


def learner_of(folder: Path) -> Learner:
    return Learner.open(GenerationStore(folder))


def test_the_fits_threshold_is_that_of_its_rows_ever_after(tmp_path: Path) -> None:
    """Scores at the fit and by the reference frames later are the same numbers: one definition."""
    learner = opened(tmp_path)
    first = learner.bank
    confirm(learner, confirmation(1))
    back = unlearn(learner, "f1")
    assert back.sha256 == first.sha256
    assert back.calibration.scores.tolist() == first.calibration.scores.tolist()


def test_half_of_each_fold_stays(tmp_path: Path) -> None:
    """What each fold chose first stays, whatever the others have left; asking for more of one is refused by name."""
    learner = opened(tmp_path)
    rows = of(learner.bank)
    usage: dict[str, dict[str, set[int]]] = {day: {} for day in ("2026-03-01", "2026-03-02")}
    assert learner.unused(usage, days=2, today="2026-03-03") == tuple(rows[15:])
    of_fold = [row for row, fold in zip(rows, learner.bank.row_fold.tolist(), strict=True) if fold == 3]
    with pytest.raises(LearningError, match="2 rows of fold 3 of the fit would be left, expected 3 or more of 6"):
        age(learner, of_fold[:4])
    assert of(age(learner, rows[15:])) == rows[:15]
    assert learner.unused(usage, days=2, today="2026-03-03") == ()


@pytest.mark.parametrize("by_name", [True, False])
def test_a_calibration_frame_that_is_learned_leaves_calibration(tmp_path: Path, by_name: bool) -> None:
    """Known by its name or by its embeddings: its own rows are in the bank from then on. Unlearned, it comes back."""
    learner = opened(tmp_path)
    first, (_, frames) = learner.bank, fitted_by_folds(SMALL)
    name = "fit-04" if by_name else "line-1/000007"
    values = patches(77, shift=90) if by_name else frames["fit-04"]
    bank = confirm(learner, confirmation(1, frame=name, patches=values))
    others = {frame: of_frame for frame, of_frame in frames.items() if frame != "fit-04"}
    folds = [fold for frame, fold in zip(frames, first.calibration_folds, strict=True) if frame != "fit-04"]
    assert bank.calibration.scores.tolist() == scored_by_the_others(bank, others, folds)
    assert bank.calibration.threshold == calibrate(bank.calibration.scores, 0.2).threshold
    assert list(replayed(learner._head.store)) == [(1, None), (2, None)]
    assert confirm(learner, confirmation(2)).calibration.frames == 9
    out = export(learner._head.store, 3, tmp_path / "out", operator="kim", time="2026-04-01")
    assert [frame.name for frame in out.manifest(1).calibration] == list(others)
    assert out.bank().calibration_folds == tuple(folds)
    assert out.bank().sha256 == learner.bank.sha256
    unlearn(learner, name, "b1")
    assert unlearn(learner, "f2", "b2").sha256 == first.sha256


def test_where_too_few_are_left_the_lowest_rate_is_taken(tmp_path: Path) -> None:
    """A tap is not refused because its frame vouched: the threshold is then the largest score of the others."""
    bank, frames = fitted_by_folds(msgspec.structs.replace(SMALL, false_reject_rate=0.1), frames=10)
    save_bank(bank, tmp_path)
    learner = Learner.open(GenerationStore(tmp_path))
    after = confirm(learner, confirmation(1, frame="line-1/1", patches=frames["fit-03"]))
    assert after.calibration.frames == 9
    assert (after.calibration.false_reject_rate, after.threshold) == (0.1, after.calibration.scores[-1])
    after = confirm(learner, confirmation(2, frame="line-1/2", patches=frames["fit-04"]))
    assert (after.calibration.false_reject_rate, after.threshold) == (0.1112, after.calibration.scores[-1])


def test_a_bank_of_before_lets_its_frames_vouch_on(tmp_path: Path) -> None:
    """Up to version 2 a learned calibration frame stayed; such a bank is replayed by its own rule."""
    learner = opened(tmp_path)
    chain = learner._head.chain
    first = learner._head.first_manifest
    confirm(learner, confirmation(1, frame="fit-04"))
    after = learner._head.chain
    assert vouching(first, chain).all()
    assert vouching(first, after).tolist() == [frame.name != "fit-04" for frame in first.calibration]
    assert vouching(msgspec.structs.replace(first, version=2), after).all()


def test_folds_are_stored_and_read(tmp_path: Path) -> None:
    """Each frame's fold, the smallest radius and the groups come back; the sum covers what is judged by."""
    bank, _ = fitted_by_folds()
    groups = tuple(n // 2 for n in range(10))
    weighed = calibrate(bank.calibration.scores, 0.2, np.array(groups, dtype=np.int32), 0.5)
    bank = replace(bank, calibration=weighed, calibration_groups=groups)
    save_bank(bank, tmp_path)
    read = load_bank(tmp_path)
    assert read.sha256 == bank.sha256
    assert (read.folds, read.fold_radius, read.calibration_folds) == (5, bank.fold_radius, bank.calibration_folds)
    assert read.calibration_groups == groups
    assert read.calibration.groups is not None
    assert read.calibration.groups.tolist() == list(groups)
    assert read.calibration.proved == 0.5
    assert read.row_fold.tolist() == bank.row_fold.tolist()
    assert first_state(read).sq_first == first_state(bank).sq_first
    learner = Learner.open(GenerationStore(tmp_path))
    after = confirm(learner, confirmation(1))
    assert after.calibration.group_count == 5
    assert load_bank(tmp_path).sha256 == after.sha256
    for other in ({"folds": 6}, {"fold_radius": 0.1}, {"calibration": calibrate(bank.calibration.scores, 0.2)}):
        assert replace(bank, **other).sha256 != bank.sha256
