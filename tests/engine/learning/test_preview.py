"""A preview tells what an update will do, before it is taken."""

import numpy as np
import pytest
from numpy.typing import NDArray

from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset, begin
from patchline.engine.learning.preview import Preview, preview_steps
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.numerics.steps import finish
from patchline.engine.types import Rows


def at(*values: int) -> Rows:
    """Patches on a line, int16 (P, 1)."""
    return np.array(values, dtype=np.int16)[:, None]


def bank() -> OnlineCoreset:
    rows = at(0, 100)
    return begin(rows, np.zeros(2, np.int32), np.arange(2, dtype=np.int32), ("fit",), sq_covering=100, budget=10)


def distance(references: ReferenceFrames) -> NDArray[np.float64]:
    return references.scores(1.0, 1)


def look(frame: str, patches: Rows) -> tuple[ReferenceFrames, Preview]:
    references = (
        ReferenceFrames(bank())
        .with_frame("c", "calibration", at(5, 92))
        .with_frame("near", "reject", at(0, 205))
        .with_frame("far", "reject", at(0, 400))
        .with_frame("tapped", "reject", at(0, 200))
        .with_frame("scratch", "defect", at(0, 300))
    )
    state, _ = learn(references.state, frame, patches)
    steps = preview_steps(references, state, frame, scores=distance, threshold_of=lambda scores: float(scores.max()))
    return references, finish(steps)


def test_it_counts_rows_and_what_becomes_of_rejects() -> None:
    """The frame's own reject is not counted; one like it is cleared; one unlike it and the defect are not."""
    references, found = look("tapped", at(0, 200))
    assert (found.rows_added, found.rows_removed) == (1, 0)
    assert (found.cleared, found.rejects) == (("near",), 2)
    assert (found.hidden, found.defects) == ((), 1)
    assert found.hold is None
    assert str(found).endswith("clears 1 of the last 2 rejects, hides 0 of 1 known defects")
    assert len(references.state.rows) == 2


def test_known_defects_are_told_as_shares_of_the_threshold() -> None:
    """Score over threshold, both after the update: the row nearest to the defect is at 200, the threshold is 8."""
    _, found = look("tapped", at(0, 200))
    assert found.threshold_after == 8
    assert found.defect_ratios == {"scratch": 12.5}
    _, slip = look("slip", at(0, 304))
    assert slip.defect_ratios == {"scratch": 0.5}


def test_hiding_a_known_defect_is_a_reason_to_hold() -> None:
    """The reason names the defect."""
    _, found = look("slip", at(0, 304))
    assert found.hold == "it would hide 1 of 1 known defects: scratch"


def test_what_it_shows_is_what_the_update_gives() -> None:
    """State, reference frames and threshold are those after the update."""
    _, found = look("new", at(90, 98))
    anew = ReferenceFrames(found.state)
    for frame in found.references.frames:
        anew = anew.with_frame(frame.name, frame.kind, frame.patches)
    assert distance(anew).tolist() == distance(found.references).tolist()
    assert found.threshold_before == 8
    assert found.threshold_after == 8


def test_the_threshold_follows_the_calibration_frames() -> None:
    """A row beside the worst calibration patch lowers the threshold."""
    _, found = look("new", at(88))
    assert found.threshold_after == 5


@pytest.mark.parametrize(
    ("before", "after", "hidden", "caught", "missed"),
    [
        (150.0, 250.0, ("scratch",), (), ("scratch", "speck")),
        (250.0, 150.0, (), ("scratch",), ("speck",)),
        (150.0, 160.0, (), (), ("speck",)),
        (200.0, 200.0, (), (), ("scratch", "speck")),
    ],
)
def test_another_threshold_alone_hides_or_catches(
    before: float, after: float, hidden: tuple[str, ...], caught: tuple[str, ...], missed: tuple[str, ...]
) -> None:
    """A defect at the threshold passes; those that pass with either are missed, and no reason to hold."""
    references = (
        ReferenceFrames(bank())
        .with_frame("speck", "defect", at(0, 200))
        .with_frame("scratch", "defect", at(0, 300))
        .with_frame("near", "reject", at(0, 290))
    )
    found = finish(
        preview_steps(
            references, references.state, "", scores=distance, threshold_of=lambda _: after, threshold_before=before
        )
    )
    assert (found.hidden, found.caught) == (hidden, caught)
    assert sorted(found.missed) == sorted(missed)
    assert (found.hold is not None) == bool(hidden)
    assert found.cleared == (("near",) if hidden else ())
    assert str(found).endswith("and catches 1 that pass now") == bool(caught)
