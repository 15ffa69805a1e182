"""A frame confirmed as good that resembles known defects more than good parts is held, where the recipe asks for it."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.events import ConfirmedGood, Held
from patchline.engine.bank.store import GenerationStore
from patchline.engine.coreset.online_state import begin
from patchline.engine.learning.doubt import DEFECTS_COMPARED, _doubt, _farthest, cut_off, reason_to_doubt
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.reference_frames import ReferenceFrame, ReferenceFrames
from patchline.engine.types import Rows
from tests.engine.learning_worlds import RECIPE, confirm, confirmation, new_store, patches, unlearn

CAREFUL = msgspec.structs.replace(RECIPE, hold_slips=0.4)


def at(*places: tuple[int, int]) -> Rows:
    """Patches in a plane, int16 (P, 2)."""
    return np.array(places, dtype=np.int16)


def measured(*frames: Rows) -> list[ReferenceFrame]:
    """Frames in step with a bank of one row, at 0, 0."""
    rows = at((0, 0))
    first = np.zeros(1, np.int32)
    references = ReferenceFrames(begin(rows, first, first, ("fit",), sq_covering=1, budget=10))
    for number, values in enumerate(frames):
        references = references.with_frame(str(number), "defect", values)
    return list(references.frames)


def doubted(patch: tuple[int, int], defects: list[tuple[int, int]], share: float = 0.4) -> str | None:
    """What is said of a frame of one patch, by known defects of one patch each; scores are distances."""
    frame, *known = measured(at(patch), *(at(place) for place in defects))
    scores = np.array([np.hypot(*place) for place in defects])
    return reason_to_doubt(frame, float(np.hypot(*patch)), known, scores, share)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("n", [4, 5, 10, 33])
def test_a_further_defect_is_held_with_the_probability_that_is_asked_for(n: int, share: float) -> None:
    """Over all ranks that a further value may take among n others, it reaches the cut-off in no less than the share."""
    values = np.arange(n + 1.0)
    held = [values[i] >= cut_off(np.delete(values, i), share) for i in range(n + 1)]
    assert share <= np.mean(held) <= share + 1 / (n + 1)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_where_known_defects_are_too_few_for_the_share_all_of_them_count(n: int) -> None:
    """What reaches the least doubt among them is held."""
    assert cut_off(np.arange(5.0, 5.0 + n), 0.9) == 5.0


def test_likeness_to_known_defects_raises_doubt() -> None:
    """Of two frames as far from the bank, the one beside the known defects is held, the one across from them is not."""
    defects = [(100, 0), (100, 10), (100, -10)]
    assert doubted((99, 5), defects) is not None
    assert doubted((-99, 5), defects) is None


def test_distance_from_the_bank_raises_doubt() -> None:
    """Of two frames in one direction from the bank, the farther one is held."""
    defects = [(100, 0), (0, 100), (-100, 0)]
    assert doubted((30, -30), defects) is None
    assert doubted((600, -600), defects) == (
        "it looks less like the good parts known so far than 3 of 3 known defects do"
    )


def test_a_frame_that_equals_a_known_defect_is_held_and_one_that_equals_a_row_is_not() -> None:
    """Where one of the distances is 0 there is no ratio."""
    assert doubted((100, 0), [(100, 0), (500, 500)]) is not None
    assert doubted((0, 0), [(0, 0), (0, 100), (100, 0)]) is None


def test_only_the_newest_known_defects_are_looked_at() -> None:
    """Twice as many older ones, farther away, do not let a frame through that the newest hold."""

    def around(radius: int, count: int) -> list[tuple[int, int]]:
        turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
        return [(round(radius * np.cos(turn)), round(radius * np.sin(turn))) for turn in turns]

    newest, older = around(100, DEFECTS_COMPARED), around(900, 2 * DEFECTS_COMPARED)
    assert doubted((300, 0), newest) is not None
    assert doubted((300, 0), older + newest) is not None
    assert doubted((300, 0), newest + older) is None


@pytest.fixture
def store(tmp_path: Path) -> GenerationStore:
    return new_store(tmp_path, CAREFUL)


def test_the_larger_the_share_the_more_is_held() -> None:
    """A frame that some known defects exceed is held only where nearly all slips are to be."""
    defects = [(100, 0), (0, 200), (-400, 0), (0, -800)]
    assert doubted((60, 90), defects, share=0.2) is None
    assert doubted((60, 90), defects, share=0.8) is not None


def _with_defects(store: GenerationStore) -> Learner:
    learner = Learner.open(store)
    for number in range(3):
        request = confirmation(number, feedback_id=f"defect-{number}", frame=f"scratch-{number}", shift=200)
        for _ in learner.confirm_defect(request):
            pass
        learner.commit()
    return learner


def test_a_slip_waits_in_quarantine_with_the_reason_and_a_second_person_releases_it(store: GenerationStore) -> None:
    """It hides no known defect, and waits all the same; a new kind of good nearer to the bank is learned at once."""
    learner = _with_defects(store)
    slip = confirmation(8, patches=patches(77, shift=-900))
    bank = confirm(learner, slip)
    assert bank.sha256 == store.bank(1).sha256
    event = store.manifest().event
    assert isinstance(event, Held)
    assert event.held == "it looks less like the good parts known so far than 3 of 3 known defects do"
    confirm(learner, confirmation(9, shift=-60))
    assert isinstance(store.manifest().event, ConfirmedGood)
    confirm(Learner.open(store), confirmation(8, feedback_id="second", operator="lee", patches=None))
    event = store.manifest().event
    assert isinstance(event, ConfirmedGood)
    assert (event.frame.name, event.approved_by) == ("f8", "lee")


def test_what_slipped_through_is_unlearned_bit_for_bit(store: GenerationStore, tmp_path: Path) -> None:
    """The bank is then the one that was never told of the slip, known defects and held frames notwithstanding."""
    told, never_told = _with_defects(store), _with_defects(new_store(tmp_path / "other", CAREFUL))
    for number, shift in enumerate((-60, -900, -70, -50)):
        confirm(told, confirmation(number, shift=shift))
        if number in (0, 3):
            confirm(never_told, confirmation(number, shift=shift))
    assert set(told.chain.held) == {"f1"}
    assert unlearn(told, "f2").sha256 == never_told.bank.sha256


def test_without_known_defects_nothing_is_held(store: GenerationStore) -> None:
    """There is nothing to go by, however far the frame lies from the bank."""
    confirm(Learner.open(store), confirmation(1, shift=5000))
    assert isinstance(store.manifest().event, ConfirmedGood)


def test_a_recipe_that_does_not_ask_for_it_holds_no_slip(tmp_path: Path) -> None:
    """The same frame that a careful recipe holds is learned."""
    careless = new_store(tmp_path)
    confirm(_with_defects(careless), confirmation(8, patches=patches(77, shift=-900)))
    assert isinstance(careless.manifest().event, ConfirmedGood)


def test_the_ten_patches_farthest_from_the_bank_are_compared() -> None:
    """Nearer ones neither add to how far a frame lies from the bank nor are they measured against defects."""
    line = at(*((100 - distance, 0) for distance in range(16)))
    (frame,) = measured(line)
    chosen, total = _farthest(frame)
    assert chosen.tolist() == line[:10].tolist()
    assert total == sum(range(91, 101))


def test_doubt_is_the_score_by_the_root_of_a_ratio() -> None:
    """How much farther from the bank than from known defects; infinite for one that equals them, else the score."""
    part = (at((30, 40)), 50.0)
    assert _doubt(part, 3.0, [at((30, 40 + 8)), at((0, 90))]) == 3.0 * np.sqrt(50 / 8)
    assert _doubt(part, 3.0, [at((30, 40))]) == float("inf")
    assert _doubt(part, 3.0, []) == 3.0
    assert _doubt(part, 0.0, [at((30, 40))]) == 0.0


def test_a_doubt_that_reaches_the_cut_off_is_held() -> None:
    """At it, not only above: a known defect that comes again is held."""
    doubts = np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    assert [cut_off(doubts, share) for share in (0.1, 0.17, 0.34, 0.5, 0.9)] == [5.0, 4.0, 3.0, 3.0, 1.0]
    assert doubts[0] == 5.0
    assert doubted((100, 0), [(100, 0), (0, 100), (-100, 0), (0, -100)]) is not None
