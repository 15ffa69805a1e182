"""What follows from the events of a chain: the log to replay, known defects, quarantine, feedback."""

import pytest

from patchline.engine.bank.events import (
    RECENT,
    Aged,
    Chain,
    ConfirmedDefect,
    ConfirmedGood,
    Event,
    Fitted,
    Held,
    RolledBack,
    StoredFrame,
    ThresholdChosen,
    Unlearned,
    chain_after,
    chain_of,
)
from patchline.engine.coreset.event_log import AgedRows, Learned
from patchline.engine.errors import EngineError


def frame(name: str, sha256: str = "") -> StoredFrame:
    return StoredFrame(name=name, sha256=sha256, bytes=1)


def good(name: str, score: float = 1.0, feedback_id: str = "") -> ConfirmedGood:
    return ConfirmedGood(frame=frame(name), score=score, feedback_id=feedback_id)


def held(name: str) -> Held:
    return Held(frame=frame(name), score=2.0, held="why")


def defect(name: str, sha256: str = "") -> ConfirmedDefect:
    return ConfirmedDefect(frame=frame(name, sha256))


def test_a_fit_says_nothing() -> None:
    """A chain of the fit alone has no log, no frames and no feedback."""
    assert chain_of([Fitted(time="2026-01-01")]) == Chain()


def test_a_confirmed_frame_is_learned_once() -> None:
    """A second confirmation of a frame leaves its place in the log, its file and its score; both ids count."""
    chain = chain_of([Fitted(), good("a", 1.5, "one"), good("b"), good("a", 9.0, "two")])
    assert chain.log == (Learned(frame="a"), Learned(frame="b"))
    assert chain.scores == {"a": 1.5, "b": 1.0}
    assert list(chain.frames) == ["a", "b"]
    assert chain.feedback == {"one", "two"}


def test_a_confirmation_ends_quarantine_and_being_a_defect() -> None:
    """Also where the frame was learned before; others stay where they are."""
    chain = chain_of([Fitted(), held("a"), held("b"), defect("c"), defect("d"), good("a"), good("c")])
    assert (list(chain.held), list(chain.defects)) == (["b"], ["d"])
    again = chain_after(chain, defect("a"), ())
    assert list(again.defects) == ["d", "a"]
    assert list(chain_after(again, good("a"), ()).defects) == ["d"]


def test_a_defect_leaves_quarantine_and_the_newest_is_last() -> None:
    """Named once more, a defect has its newer file, and stands behind the others."""
    chain = chain_of([Fitted(), held("a"), defect("a", "old"), defect("b"), defect("a", "new")])
    assert not chain.held
    assert [(name, stored.sha256) for name, stored in chain.defects.items()] == [("b", ""), ("a", "new")]
    assert chain.log == ()


def test_unlearning_takes_a_frame_from_everywhere() -> None:
    """From the log, its aged rows included, the frames, the scores, the defects and quarantine; others stay."""
    aged = Aged(rows=(("a", 1), ("b", 2)))
    chain = chain_of([Fitted(), good("a"), good("b"), aged, defect("a"), held("a"), Unlearned(frame="a")])
    assert chain.log == (Learned(frame="b"), AgedRows(rows=(("b", 2),)))
    assert (list(chain.frames), list(chain.scores)) == (["b"], ["b"])
    assert (chain.defects, chain.held) == ({}, {})


def test_rolling_back_takes_the_log_of_then_and_keeps_what_is_known() -> None:
    """Learned frames, scores and passed frames are those of that generation; defects, quarantine and feedback stay."""
    passed = ConfirmedGood(frame=frame("b"), score=3.0, passed=(0.5, 0.6))
    events: list[Event] = [Fitted(), good("a", 1.0, "one"), passed, defect("d"), held("h"), RolledBack(to=2)]
    chain = chain_of(events)
    assert (chain.log, chain.scores, list(chain.frames)) == ((Learned(frame="a"),), {"a": 1.0}, ["a"])
    assert chain.passed == ()
    assert (list(chain.defects), list(chain.held)) == (["d"], ["h"])
    assert chain.feedback == {"one"}


@pytest.mark.parametrize("to", [0, 3])
def test_rolling_back_to_what_is_not_there(to: int) -> None:
    """A generation that is not before the event is refused with the ones that are."""
    with pytest.raises(EngineError, match=f"generation 3 goes back to {to}, expected 1 to 2"):
        chain_of([Fitted(), good("a"), RolledBack(to=to)])
    assert chain_of([Fitted(), good("a"), RolledBack(to=1)]).log == ()
    assert chain_of([Fitted(), good("a"), RolledBack(to=2)]).log == (Learned(frame="a"),)


def test_the_newest_passed_scores_are_remembered() -> None:
    """So many at most, whichever events brought them, in their order."""
    many = tuple(float(n) for n in range(RECENT))
    chain = chain_of([Fitted(passed=(-1.0,)), Fitted(passed=many), Fitted(passed=(0.5,))])
    assert chain.passed == (*many[1:], 0.5)
    assert len(chain.passed) == RECENT


def test_feedback_without_an_id_is_not_remembered() -> None:
    """An event that nobody's request made adds nothing to what has been applied."""
    assert chain_of([Fitted(), good("a"), good("b", feedback_id="x"), good("c")]).feedback == {"x"}


AT_A_RATE = ThresholdChosen(rate=0.1, operator="lee")
AT_A_VALUE = ThresholdChosen(value=24.9, evaluation_sha256="ab")


def test_the_last_choice_of_a_threshold_counts() -> None:
    """Whatever is learned, named, aged or unlearned afterwards; without one there is none."""
    later: list[Event] = [good("a"), held("b"), defect("c"), Aged(rows=(("a", 1),)), Unlearned(frame="a")]
    assert chain_of([Fitted(), *later]).chosen is None
    assert chain_of([Fitted(), AT_A_RATE, *later]).chosen == AT_A_RATE
    assert chain_of([Fitted(), AT_A_RATE, good("a"), AT_A_VALUE, good("b")]).chosen == AT_A_VALUE


def test_rolling_back_takes_the_choice_of_then() -> None:
    """None where none had been made; a later choice counts again where it is rolled back to."""
    events: list[Event] = [Fitted(), AT_A_RATE, AT_A_VALUE, RolledBack(to=1)]
    assert chain_of(events).chosen is None
    assert chain_of([*events, RolledBack(to=2)]).chosen == AT_A_RATE
    assert chain_of([*events, RolledBack(to=3), good("a")]).chosen == AT_A_VALUE


def test_an_export_brings_its_choice() -> None:
    """It is the first one there, and the one that counts until another is made."""
    chain = chain_of([Fitted(chosen=AT_A_VALUE), good("a")])
    assert (chain.chosen, chain.chosen_first) == (AT_A_VALUE, AT_A_VALUE)
    chain = chain_after(chain, AT_A_RATE, ())
    assert (chain.chosen, chain.chosen_first) == (AT_A_RATE, AT_A_VALUE)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (ThresholdChosen(), "generation 2 chooses a threshold by rate None and value None, expected either"),
        (ThresholdChosen(rate=0.1, value=3.0), "by rate 0.1 and value 3.0, expected either"),
        (ThresholdChosen(rate=0.0), "chooses the false-reject rate 0, expected between 0 and 1"),
        (ThresholdChosen(rate=1.0), "chooses the false-reject rate 1, expected between 0 and 1"),
        (ThresholdChosen(value=0.0), "chooses the threshold 0, expected a finite value above 0"),
        (ThresholdChosen(value=float("inf")), "chooses the threshold inf, expected a finite value above 0"),
    ],
)
def test_a_choice_is_of_one_thing_that_can_be(event: ThresholdChosen, said: str) -> None:
    """One rate or one value; the error names the generation and what was found."""
    with pytest.raises(EngineError, match=said):
        chain_of([Fitted(), event])


def test_rollbacks_of_rollbacks_cost_no_more_than_their_number() -> None:
    """Each goes back to the one before it: looked up anew for each, thirty would take a thousand million steps."""
    events: list[Event] = [Fitted(), good("a"), *(RolledBack(to=number) for number in range(2, 2002))]
    chain = chain_of(events)
    assert list(chain.frames) == ["a"]
    assert chain_after(chain, RolledBack(to=len(events)), events).frames == chain.frames
    assert chain_after(chain, RolledBack(to=1), events).frames == {}


def test_a_chain_is_not_changed_by_what_comes_after_it() -> None:
    """What follows from one more event is another chain."""
    before = chain_of([Fitted(), good("a"), held("b"), defect("c")])
    after = chain_after(before, Unlearned(frame="a"), ())
    assert (list(before.frames), list(after.frames)) == (["a"], [])
    assert list(chain_after(before, good("b"), ()).held) == []
    assert (list(before.held), list(before.defects), before.log) == (["b"], ["c"], (Learned(frame="a"),))


@pytest.mark.parametrize("to", [0, -1, 3, 4, 10**30])
def test_a_rollback_to_what_is_not_there_is_refused(to: int) -> None:
    """Neither to itself nor to what comes later."""
    with pytest.raises(EngineError, match=f"generation 3 goes back to {to}, expected 1 to 2"):
        chain_of([Fitted(), good("a"), RolledBack(to=to)])
