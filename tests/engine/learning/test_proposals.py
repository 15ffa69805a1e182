"""What each request would make of the bank."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.events import ConfirmedDefect, ConfirmedGood, Held, RolledBack, Unlearned
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.store import GenerationStore
from patchline.engine.errors import LearningError
from patchline.engine.learning.ageing import fit_rows_kept
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import ANYBODY, Ageing, Confirmation, Proposal, Rollback, Unlearning
from tests.engine.learning_worlds import confirm, confirmation, new_store, patches, unlearn


@pytest.fixture
def learner(tmp_path: Path) -> Learner:
    return Learner.open(new_store(tmp_path))


def proposed(learner: Learner) -> Proposal:
    assert learner.proposal is not None
    return learner.proposal


def name_defect(learner: Learner, request: Confirmation) -> None:
    for _ in learner.confirm_defect(request):
        pass
    learner.commit()


def test_learning_a_frame_adds_rows_and_says_how_many(learner: Learner) -> None:
    """The proposal is the next generation; nothing is written before it is taken."""
    for _ in learner.confirm_good(confirmation(1)):
        pass
    proposal = proposed(learner)
    assert proposal.hold is None
    assert (proposal.bank.generation, proposal.bank.created) == (2, "2026-01-02T00:00:01Z")
    assert proposal.preview.rows_added == len(proposal.bank.rows) - len(learner.bank.rows) > 0
    assert learner.bank.generation == 1
    assert learner.commit() is proposal.bank
    assert learner.proposal is None
    with pytest.raises(LearningError, match="nothing is proposed"):
        learner.commit()


def test_a_near_row_changes_the_cost_and_not_the_rows(learner: Learner, tmp_path: Path) -> None:
    """What an inspection has found of the patches may be any rows."""
    other = Learner.open(new_store(tmp_path / "other"))
    bank = confirm(learner, confirmation(1))
    assert confirm(other, confirmation(1, nearest=np.arange(16) * 7)).sha256 == bank.sha256


def test_two_people_in_one_request_pass_what_would_be_held(learner: Learner) -> None:
    """Who approves must be someone else; then the frame is learned at once, and the event names both."""
    name_defect(learner, confirmation(8, shift=200, frame="scratch"))
    slip = confirmation(8, shift=200).patches
    with pytest.raises(LearningError, match="'f9': waits for someone else than 'kim' to approve it"):
        confirm(learner, confirmation(9, patches=slip, approved_by="kim"))
    bank = confirm(learner, confirmation(9, patches=slip, approved_by="lee"))
    assert bank.frames[-1].name == "f9"
    event = learner._head.events[-1]
    assert isinstance(event, ConfirmedGood)
    assert (event.operator, event.approved_by, event.score) == ("kim", "lee", 21.5)


def test_a_held_frame_changes_no_row_and_waits(learner: Learner) -> None:
    """It is told why; its own embeddings and score are what a second person approves."""
    name_defect(learner, confirmation(8, shift=200, frame="scratch"))
    slip = confirmation(8, shift=200).patches
    before = learner.bank
    for _ in learner.confirm_good(confirmation(9, patches=slip)):
        pass
    assert proposed(learner).hold == "it would hide 1 of 1 known defects: scratch"
    held = learner.commit()
    assert (held.generation, held.sha256) == (before.generation + 1, before.sha256)
    event = learner._head.events[-1]
    assert isinstance(event, Held)
    assert (event.operator, event.score, event.frame.name) == ("kim", 21.5, "f9")
    for _ in learner.confirm_good(confirmation(9, feedback_id="b", operator="lee", patches=None, score=1.0)):
        pass
    assert proposed(learner).hold is None
    confirm(learner, confirmation(9, feedback_id="b", operator="lee", patches=None, score=1.0))
    approved = learner._head.events[-1]
    assert isinstance(approved, ConfirmedGood)
    assert (approved.operator, approved.approved_by, approved.score) == ("kim", "lee", 21.5)
    assert not learner.chain.held


def test_a_second_person_is_a_second_identity(learner: Learner) -> None:
    """Where identities are known, no name that is typed makes one person two: neither at once nor one after another."""
    name_defect(learner, confirmation(8, shift=200, frame="scratch"))
    slip = confirmation(8, shift=200).patches
    for _ in learner.confirm_good(confirmation(9, patches=slip, approved_by="lee", identity="tablet-1")):
        pass
    assert proposed(learner).hold == "it would hide 1 of 1 known defects: scratch"
    learner.commit()
    held = learner._head.events[-1]
    assert isinstance(held, Held)
    assert (held.operator, held.identity) == ("kim", "tablet-1")
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"operator": "lee", "identity": "tablet-1"}, "waits for another identity than 'tablet-1'"),
        ({"operator": "lee", "identity": ANYBODY}, "anybody may have sent this; expected feedback by a token"),
        ({"operator": "kim", "identity": "tablet-2"}, "waits for someone else than 'kim'"),
        ({"operator": "lee", "approved_by": "kim", "identity": "tablet-2"}, "waits for someone else than 'kim'"),
    )
    for more, why in wrong:
        with pytest.raises(LearningError, match=why):
            confirm(learner, confirmation(9, feedback_id="b", patches=None, **more))
    confirm(learner, confirmation(9, feedback_id="b", operator="lee", patches=None, identity="tablet-2"))
    approved = learner._head.events[-1]
    assert isinstance(approved, ConfirmedGood)
    assert (approved.operator, approved.approved_by, approved.identity) == ("kim", "lee", "tablet-2")
    assert Learner.open(learner._head.store).chain == learner.chain


def test_what_anybody_sent_is_learned_and_may_be_approved_by_somebody(learner: Learner) -> None:
    """Anybody is one identity: what it confirms is learned, and what of it is held waits for one that is known."""
    confirm(learner, confirmation(1, identity=ANYBODY))
    name_defect(learner, confirmation(8, shift=200, frame="scratch", identity=ANYBODY))
    slip = confirmation(8, shift=200).patches
    for _ in learner.confirm_good(confirmation(9, patches=slip, identity=ANYBODY)):
        pass
    learner.commit()
    assert set(learner.chain.held) == {"f9"}
    confirm(learner, confirmation(9, feedback_id="b", operator="lee", patches=None, identity="tablet-2"))
    assert not learner.chain.held


def test_without_identities_nothing_of_them_is_stored(learner: Learner) -> None:
    """A store that is written without is as it was before there were any."""
    confirm(learner, confirmation(1))
    assert b"identity" not in msgspec.json.encode(learner._head.events[-1])


def test_a_defect_joins_the_known_ones_once(learner: Learner) -> None:
    """No row changes; named again, its newer embeddings count; one that waits needs none of its own."""
    before = learner.bank
    name_defect(learner, confirmation(8, shift=200, frame="scratch"))
    assert learner.bank.sha256 == before.sha256
    assert isinstance(learner._head.events[-1], ConfirmedDefect)
    for _ in learner.confirm_defect(confirmation(7, shift=300, frame="scratch")):
        pass
    assert proposed(learner).preview.defects == 1
    learner.commit()
    stored = learner.chain.defects["scratch"]
    assert np.array_equal(learner._head.store.patches(stored), patches(1007, shift=300))
    confirm(learner, confirmation(9, patches=patches(1007, shift=300)))
    assert set(learner.chain.held) == {"f9"}
    name_defect(learner, confirmation(9, feedback_id="no", patches=None))
    assert (set(learner.chain.defects), set(learner.chain.held)) == ({"scratch", "f9"}, set())


def test_unlearning_takes_back_what_a_frame_was(learner: Learner) -> None:
    """A known defect and a held frame are taken from there, a learned one from the rows too."""
    first = learner.bank
    name_defect(learner, confirmation(8, shift=200, frame="scratch"))
    confirm(learner, confirmation(9, patches=confirmation(8, shift=200).patches))
    confirm(learner, confirmation(1))
    learned = learner.bank
    assert unlearn(learner, "f9", "b1").sha256 == learned.sha256
    assert not learner.chain.held
    assert unlearn(learner, "scratch", "b2").sha256 == learned.sha256
    for _ in learner.confirm_good(confirmation(2)):
        pass
    assert proposed(learner).preview.defects == 0
    for _ in learner.unlearn(Unlearning(feedback_id="b3", operator="kim", frame="f1")):
        pass
    assert proposed(learner).preview.rows_removed == len(learned.rows) - len(first.rows)
    assert learner.commit().sha256 == first.sha256
    assert isinstance(learner._head.events[-1], Unlearned)
    with pytest.raises(LearningError, match="'f1' has been neither learned, nor held, nor named a defect"):
        unlearn(learner, "f1", "b4")


@pytest.mark.parametrize("generation", [0, 2, 3])
def test_only_an_earlier_generation_can_be_taken_again(learner: Learner, generation: int) -> None:
    """Neither the newest nor what is not there."""
    confirm(learner, confirmation(1))
    with pytest.raises(LearningError, match=f"generation {generation}: expected one before the newest, 1 to 1"):
        list(learner.rollback(Rollback(feedback_id="b", operator="kim", generation=generation)))


def test_a_rollback_keeps_known_defects_and_the_earlier_threshold(learner: Learner, tmp_path: Path) -> None:
    """Rows, threshold and scores are those of then; the preview compares both thresholds."""
    first = learner.bank
    near = (patches(500).astype(np.int32) + 1).astype(np.int16)
    later = confirm(learner, confirmation(1, patches=near))
    name_defect(learner, confirmation(8, shift=200, frame="scratch"))
    for _ in learner.rollback(Rollback(feedback_id="b", operator="kim", generation=1, time="2026-02-02")):
        pass
    preview = proposed(learner).preview
    assert (preview.threshold_before, preview.threshold_after) == (later.threshold, first.threshold)
    assert preview.rows_removed == len(later.rows) - len(first.rows)
    bank = learner.commit()
    assert (bank.generation, bank.sha256, bank.created) == (4, first.sha256, "2026-02-02")
    assert learner._head.events[-1] == RolledBack(to=1, feedback_id="b", operator="kim", time="2026-02-02")
    assert set(learner.chain.defects) == {"scratch"}
    assert GenerationStore(tmp_path).bank().sha256 == first.sha256


def test_rows_that_are_not_there_cannot_age(learner: Learner) -> None:
    """The lowest of them is named; a row of a learned frame may leave however little of the fit is left."""
    confirm(learner, confirmation(1))
    with pytest.raises(LearningError, match=r"row \('nobody', 3\): is not in generation 2"):
        list(learner.age(Ageing(feedback_id="a", operator="kim", rows=(("nobody", 7), ("nobody", 3)))))
    row = next(
        learner.bank.provenance(n) for n in range(len(learner.bank.rows)) if learner.bank.provenance(n)[0] == "f1"
    )
    for _ in learner.age(Ageing(feedback_id="a", operator="kim", rows=(row,))):
        pass
    bank = learner.commit()
    assert row not in {bank.provenance(n) for n in range(len(bank.rows))}


def test_learned_rows_may_leave_where_less_than_half_of_the_fit_is_left(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thinning may have left less of the fit than ageing would: what was learned has to be able to leave even so."""

    def too_many(first: MemoryBank) -> list[tuple[set[tuple[str, int]], int]]:
        return [(rows, len(first.rows) + 1) for rows, _ in fit_rows_kept(first)]

    confirm(learner, confirmation(1))
    monkeypatch.setattr("patchline.engine.learning.proposals.fit_rows_kept", too_many)
    rows = [learner.bank.provenance(n) for n in range(len(learner.bank.rows))]
    with pytest.raises(LearningError, match="23 rows of the fit would be left, expected 25 or more of 24"):
        list(learner.age(Ageing(feedback_id="a", operator="kim", rows=(rows[0],))))
    learned = next(row for row in rows if row[0] == "f1")
    for _ in learner.age(Ageing(feedback_id="b", operator="kim", rows=(learned,))):
        pass
    bank = proposed(learner).bank
    assert learned not in {bank.provenance(n) for n in range(len(bank.rows))}


def test_learned_rows_do_not_count_for_the_half_of_the_fit_that_stays(learner: Learner) -> None:
    """Half of the fit's own rows stay, also where some have left before."""
    confirm(learner, confirmation(1))
    rows = tuple(learner.bank.provenance(row) for row in range(24))
    with pytest.raises(LearningError, match="11 rows of the fit would be left, expected 12 or more of 24"):
        list(learner.age(Ageing(feedback_id="a", operator="kim", rows=rows[:13])))
    for _ in learner.age(Ageing(feedback_id="a", operator="kim", rows=rows[:12])):
        pass
    learner.commit()
    with pytest.raises(LearningError, match="11 rows of the fit would be left, expected 12 or more of 24"):
        list(learner.age(Ageing(feedback_id="b", operator="kim", rows=rows[12:13])))
