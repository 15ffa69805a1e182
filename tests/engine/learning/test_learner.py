"""What is confirmed is learned, stored, and undone; every generation is whole, and names who made it."""

from pathlib import Path

import numpy as np
import pytest

from patchline.engine.bank.events import ConfirmedGood, Held
from patchline.engine.bank.store import GenerationStore, save_bank
from patchline.engine.errors import BankFileError, GenerationConflictError, LearningError
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.requests import Rollback
from tests.engine.bank.forging import forge
from tests.engine.learning_worlds import confirm, confirmation, fitted, new_store, patches, unlearn


@pytest.fixture
def store(tmp_path: Path) -> GenerationStore:
    return new_store(tmp_path)


def test_a_confirmed_frame_becomes_the_next_generation(store: GenerationStore) -> None:
    """Its patches are rows of generation 2, which a reader opens with the same SHA-256, and says who taught it."""
    learner = Learner.open(store)
    bank = confirm(learner, confirmation(1))
    read = store.bank()
    assert (read.generation, read.sha256) == (2, bank.sha256)
    assert len(read.rows) > len(store.bank(1).rows)
    assert read.provenance(len(read.rows) - 1)[0] == "f1"
    assert read.frames[-1].generation == 2
    event = store.manifest().event
    assert isinstance(event, ConfirmedGood)
    assert (event.operator, event.reason, event.score) == ("kim", "new supplier", 13.5)
    learned = confirmation(1).patches
    assert learned is not None
    assert np.array_equal(store.patches(event.frame), learned)


def test_the_threshold_is_that_of_the_calibration_frames_by_the_new_rows(store: GenerationStore) -> None:
    """Learning the calibration frames' neighbourhood lowers their scores, and the threshold with them."""
    learner = Learner.open(store)
    before = learner.bank.threshold
    near = (patches(500).astype(np.int32) + 1).astype(np.int16)
    bank = confirm(learner, confirmation(1, patches=near))
    assert bank.calibration.frames == learner.bank.calibration.frames == 5
    assert bank.calibration.scores.min() < store.bank(1).calibration.scores.min()
    assert bank.threshold <= before


def test_going_on_from_the_store_equals_going_on_in_memory(store: GenerationStore) -> None:
    """A learner opened anew for every frame makes the same banks as one that stays, past whole generations too."""
    learner = Learner.open(store)
    other = new_store("memory://going-on")
    for number in range(40):
        bank = confirm(learner, confirmation(number))
        assert confirm(Learner.open(other), confirmation(number)).sha256 == bank.sha256
    assert store.manifest(32).whole
    assert not store.manifest(33).whole
    assert len(store.events(41)) == 41
    assert [error for _, error in store.verify()] == [None] * 41


def test_a_reader_that_follows_reads_what_changed(store: GenerationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from the bank it read last, and has what a reader who begins anew has, also after going back."""
    learner, following = Learner.open(store), GenerationStore(store.where)
    following.bank()
    read: list[str] = []

    def noted(name: str, most_bytes: int) -> bytes:
        read.append(name)
        return store._blobs.read(name, most_bytes)

    monkeypatch.setattr(following._blobs, "read", noted)
    for number in range(4):
        bank = confirm(learner, confirmation(number))
        read.clear()
        assert following.bank(bank.generation).sha256 == bank.sha256
        assert len([name for name in read if name.endswith(".safetensors")]) == 1
    assert following.bank(2).sha256 == GenerationStore(store.where).bank(2).sha256
    assert following.bank(5).sha256 == bank.sha256


def test_unlearning_gives_the_bank_that_never_saw_the_frame(store: GenerationStore, tmp_path: Path) -> None:
    """Same SHA-256: rows in the same order, provenance, radius, threshold; also back to the fit's own."""
    learner = Learner.open(store)
    first = learner.bank
    never_saw = Learner.open(new_store(tmp_path / "other"))
    for number in range(4):
        confirm(learner, confirmation(number))
        if number != 1:
            confirm(never_saw, confirmation(number))
    bank = unlearn(learner, "f1")
    assert bank.sha256 == never_saw.bank.sha256 == store.bank().sha256
    for number in (3, 0, 2):
        bank = unlearn(learner, f"f{number}", f"back-{number}")
    assert bank.sha256 == first.sha256
    assert confirm(learner, confirmation(1, feedback_id="again")).sha256 == store.bank().sha256


def test_a_rolled_back_bank_equals_the_earlier_one(store: GenerationStore) -> None:
    """It is a new generation with an old SHA-256, and learning goes on from it as it did then."""
    learner = Learner.open(store)
    banks = [learner.bank] + [confirm(learner, confirmation(number)) for number in range(3)]
    for _ in learner.rollback(Rollback(feedback_id="back", operator="kim", generation=2)):
        pass
    bank = learner.commit()
    assert (bank.generation, bank.sha256) == (5, banks[1].sha256)
    assert confirm(learner, confirmation(1, feedback_id="again")).sha256 == banks[2].sha256
    assert unlearn(Learner.open(store), "f1", "b2").sha256 == banks[1].sha256
    with pytest.raises(LearningError, match="expected one before the newest, 1 to 6"):
        next(Learner.open(store).rollback(Rollback(feedback_id="x", operator="kim", generation=9)))


def test_feedback_is_known_once_it_is_stored(store: GenerationStore) -> None:
    """Also to a learner opened later; a proposal that is not committed leaves nothing behind."""
    learner = Learner.open(store)
    for _ in learner.confirm_good(confirmation(1)):
        pass
    assert not Learner.open(store).knows("feedback-1")
    learner.commit()
    assert Learner.open(store).knows("feedback-1")
    with pytest.raises(LearningError, match="applied already"):
        next(learner.confirm_good(confirmation(1)))
    again = confirm(learner, confirmation(1, feedback_id="double tap"))
    assert again.sha256 == store.bank(2).sha256


def test_of_two_writers_one_is_told_and_goes_on(store: GenerationStore) -> None:
    """The second commit of one generation is refused; proposed anew, it follows the first."""
    one, two = Learner.open(store), Learner.open(store)
    confirm(one, confirmation(1))
    for _ in two.confirm_good(confirmation(2)):
        pass
    with pytest.raises(GenerationConflictError, match="another writer was first"):
        two.commit()
    two = two.reopen()
    assert two.knows("feedback-1")
    bank = confirm(two, confirmation(2))
    assert bank.generation == 3
    assert {"f1", "f2"} <= {frame.name for frame in store.bank().frames}


def test_what_would_hide_a_known_defect_waits_for_a_second_person(store: GenerationStore) -> None:
    """Held in the store with the reason, no row changed; the same person cannot release it, another can."""
    learner = Learner.open(store)
    for _ in learner.confirm_defect(confirmation(8, shift=200, frame="scratch")):
        pass
    learner.commit()
    slip = confirmation(9, patches=confirmation(8, shift=200).patches)
    bank = confirm(learner, slip)
    assert bank.sha256 == store.bank(1).sha256
    event = store.manifest().event
    assert isinstance(event, Held)
    assert event.held == "it would hide 1 of 1 known defects: scratch"
    learner = Learner.open(store)
    assert set(learner.chain.held) == {"f9"}
    with pytest.raises(LearningError, match="someone else than 'kim'"):
        next(learner.confirm_good(confirmation(9, feedback_id="again")))
    released = confirm(learner, confirmation(9, feedback_id="second", operator="lee", patches=None))
    assert "f9" in {frame.name for frame in released.frames}
    event = store.manifest().event
    assert isinstance(event, ConfirmedGood)
    assert (event.operator, event.approved_by, event.score) == ("kim", "lee", 21.5)
    assert not Learner.open(store).chain.held


def test_recent_rejects_are_kept_and_forgotten(store: GenerationStore) -> None:
    """A preview counts what an update would clear among the last 20 rejects, after a restart too."""
    learner = Learner.open(store)
    for number in range(25):
        learner.note_reject(f"r{number}", patches(2000 + number, shift=95))
    twin = confirmation(2).patches
    assert twin is not None
    learner.note_reject("twin", twin)
    confirm(learner, confirmation(1, shift=400))
    learner = Learner.open(store)
    for _ in learner.confirm_good(confirmation(2)):
        pass
    assert learner.proposal is not None
    preview = learner.proposal.preview
    assert preview.rejects == 20
    assert "twin" in preview.cleared
    learner.note_reject("r30", patches(2030, shift=95))
    learner.commit()
    assert [frame.name for frame in store.manifest().rejects][-2:] == ["twin", "r30"]
    assert len(list((Path(store.where) / "rejects").iterdir())) == 20


def test_what_cannot_be_learned_is_refused(store: GenerationStore, tmp_path: Path) -> None:
    """Unknown frames, frames of the fit, nobody's feedback, wrong patches: each message names it."""
    learner = Learner.open(store)
    with pytest.raises(LearningError, match="takes a refit"):
        unlearn(learner, "fit-1")
    with pytest.raises(LearningError, match="'x' has been neither learned"):
        unlearn(learner, "x")
    with pytest.raises(LearningError, match="operator is empty"):
        confirm(learner, confirmation(1, operator=" "))
    with pytest.raises(LearningError, match=r"'f1': found int16 \(3, 6\), expected int16 \(16, 6\)"):
        confirm(learner, confirmation(1, patches=patches(1)[:3]))
    with pytest.raises(LearningError, match="came without embeddings"):
        confirm(learner, confirmation(1, patches=None))
    bare = GenerationStore(tmp_path / "bare")
    save_bank(fitted()[0], tmp_path / "bare")
    with pytest.raises(LearningError, match="fit it again"):
        Learner.open(bare)


def test_a_generation_of_another_recipe_is_not_learned_from(store: GenerationStore) -> None:
    """A whole one is read without those before it, so it is held against the first."""
    learner = Learner.open(store)
    confirm(learner, confirmation(0))
    unlearn(learner, "f0")
    folder = Path(store.where)
    forge(folder, 3, lambda manifest: manifest["recipe"].update(neighbours=4))
    assert store.bank(3).recipe.neighbours == 4
    with pytest.raises(
        BankFileError, match=r"generation-000003.json: altered or foreign: recipe is .*that of generation 1"
    ):
        Learner.open(store)
