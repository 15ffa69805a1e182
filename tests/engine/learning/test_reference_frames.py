"""Reference frames stay in step with the bank, exactly."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.coreset.event_log import AgedRows, Learned
from patchline.engine.coreset.online_state import OnlineCoreset, begin
from patchline.engine.errors import EngineError
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.inspection.stored_scores import neighbours_of
from patchline.engine.learning.reference_frames import Kind, ReferenceFrames, kept_rows
from patchline.engine.numerics.quantise import dequantise
from patchline.engine.search.factory import make_search
from patchline.engine.types import Rows
from tests.engine.online_worlds import D, fitted, patches_of, run, sq_distances, unhurried, worlds

SCALE = 0.25


def taken(state: OnlineCoreset) -> ReferenceFrames:
    """Five reference frames of all kinds, on the grid of the worlds, so that ties occur."""
    references = ReferenceFrames(state)
    kinds: tuple[Kind, ...] = ("calibration", "calibration", "defect", "reject", "reject")
    for seed, kind in enumerate(kinds):
        references = references.with_frame(f"r{seed}", kind, patches_of(seed + 77, 9, 30))
    return references


def assert_as_if_scored_anew(references: ReferenceFrames, state: OnlineCoreset) -> None:
    """Distances and nearest rows equal a brute-force search in integers, scores the inspector's Eq. 6-7."""
    assert references.state is state
    rows = dequantise(state.rows, SCALE)
    index = make_search("faiss", rows)
    scorer = Scorer(rows, index, 4)
    scores = references.scores(SCALE, 4)
    for frame, score in zip(references.frames, scores, strict=True):
        sq = sq_distances(frame.patches, state.rows)
        assert frame.sq.tolist() == sq.min(1).tolist()
        assert frame.nearest.tolist() == sq.argmin(1).tolist()
        embeddings = dequantise(frame.patches, SCALE)
        distances, nearest = index.search(embeddings, 1)
        full = scorer.score(embeddings, distances[:, 0], nearest[:, 0])
        assert score == pytest.approx(full.value, rel=1e-5, abs=1e-6)


@unhurried
@given(worlds, st.data())
def test_they_follow_every_kind_of_update(world: tuple[OnlineCoreset, dict[str, Rows]], data: st.DataObject) -> None:
    """Learned, thinned, aged, unlearned, rolled back: each time the frames are as if scored anew."""
    first, frames = world
    references = taken(first)
    log: list[Learned | AgedRows] = []
    for name in frames:
        log.append(Learned(frame=name))
        state = run(first, frames, log).state
        references = references.follow(state)
        assert_as_if_scored_anew(references, state)
    learning = run(first, frames, log)
    rows = [
        (state.frames[f], int(p))
        for f, p in zip(learning.state.row_frame, learning.state.row_patch, strict=True)
        if learning.state.frames[f] != "fit"
    ]
    learning.age(data.draw(st.lists(st.sampled_from(rows), max_size=3, unique=True)) if rows else [])
    references = references.follow(learning.state)
    assert_as_if_scored_anew(references, learning.state)
    *_, unlearned = learning.unlearn(data.draw(st.sampled_from(sorted(frames))))
    references = references.follow(unlearned.state)
    assert_as_if_scored_anew(references, unlearned.state)
    assert_as_if_scored_anew(references.follow(first), first)


@unhurried
@given(worlds)
def test_large_values_are_decided_in_integers(world: tuple[OnlineCoreset, dict[str, Rows]]) -> None:
    """Near the ends of the 16-bit range, where float32 products round, the nearest rows are still exact."""
    first, frames = world
    shifted = {name: (patches.astype(np.int32) + 31000).astype(np.int16) for name, patches in frames.items()}
    references = ReferenceFrames(first).with_frame("x", "reject", patches_of(5, 30, 400, shift=31000))
    state = run(first, shifted, [Learned(frame=name) for name in shifted]).state
    frame = references.follow(state).frames[0]
    sq = sq_distances(frame.patches, state.rows)
    assert frame.sq.tolist() == sq.min(1).tolist()
    assert frame.nearest.tolist() == sq.argmin(1).tolist()


def test_frames_are_kept_by_name_and_kind() -> None:
    """A frame taken again replaces itself; patches that do not fit the rows are refused by name."""
    references = taken(fitted(patches_of(3, 20), 4, 10)).with_frame("r0", "calibration", patches_of(1, 5))
    assert [frame.name for frame in references.of("calibration")] == ["r1", "r0"]
    assert [frame.name for frame in references.without_frame("r3").of("reject")] == ["r4"]
    with pytest.raises(EngineError, match="'bad': found int16 \\(4, 2\\)"):
        references.with_frame("bad", "defect", np.zeros((4, D - 1), dtype=np.int16))


def line(*values: int) -> Rows:
    """Patches on a line, int16 (P, 1)."""
    return np.array(values, dtype=np.int16)[:, None]


def state_of_rows(*values: int, patches: tuple[int, ...] | None = None) -> OnlineCoreset:
    """Rows on a line, from patches of one frame."""
    rows = line(*values)
    numbers = np.array(patches or range(len(values)), dtype=np.int32)
    return begin(rows, np.zeros(len(values), np.int32), numbers, ("fit",), sq_covering=1, budget=99)


def test_neighbours_are_the_nearest_rows_and_the_row_itself_is_first() -> None:
    """Ties go to the lowest row, but the row itself is among its own also where many equal it."""
    rows = line(0, 5, 5, 5, 9, 1)
    assert neighbours_of(rows, np.array([3, 0]), 3).tolist() == [[3, 1, 2], [0, 5, 1]]
    assert neighbours_of(rows, np.array([4]), 6).tolist() == [[4, 1, 2, 3, 5, 0]]
    assert neighbours_of(rows, np.array([2]), 1).tolist() == [[2]]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0, 1, 2), (0, 1, 2, 3), [0, 1, 2]),
        ((0, 1, 2, 3), (0, 2, 3), [0, -1, 1, 2]),
        ((0, 1, 2), (0, 2, 1), [0, 2, -1]),
        ((5, 1), (1, 5), [1, -1]),
        ((0, 1), (7, 8), [-1, -1]),
    ],
)
def test_rows_that_stay_are_known_by_frame_and_patch(
    before: tuple[int, ...], after: tuple[int, ...], expected: list[int]
) -> None:
    """One that has moved ahead of another counts as gone and new, so that ties still go to the lowest row."""
    was, will = state_of_rows(*before, patches=before), state_of_rows(*after, patches=after)
    assert kept_rows(was, will).tolist() == expected


def test_rows_of_another_frame_are_others() -> None:
    """The same patch number of a frame of another name is no row that stayed, whatever its number in the state."""
    one = state_of_rows(0, 1)
    other = replace(one, frames=("other",))
    assert kept_rows(one, other).tolist() == [-1, -1]
    renumbered = replace(one, frames=("x", "fit"), row_frame=np.ones(2, np.int32))
    assert kept_rows(one, renumbered).tolist() == [0, 1]


def test_scores_of_frames_whose_bank_has_few_rows_or_whose_recipe_asks_for_several_patches() -> None:
    """No frames, no scores; with one neighbour, or one row, the distance itself; with k, the mean of the farthest."""
    few = ReferenceFrames(state_of_rows(0)).with_frame("a", "reject", line(3, 7, 5))
    assert few.scores(0.5, 9).tolist() == [3.5]
    more = (
        ReferenceFrames(state_of_rows(0, 100))
        .with_frame("a", "reject", line(3, 7, 5))
        .with_frame("b", "reject", line(98))
    )
    assert more.scores(0.5, 1).tolist() == [3.5, 1.0]
    assert more.scores(0.5, 1, 2).tolist() == [3.0, 1.0]
    assert ReferenceFrames(few.state).scores(0.5, 9).tolist() == []
    expected = (1 - 1 / (1 + np.exp((93 - 7) / 2))) * 3.5
    assert more.scores(0.5, 2)[0] == np.float32(expected)


def test_a_new_row_as_near_takes_the_place_of_a_higher_one_only() -> None:
    """Ties go to the lowest row, whether it was there or joins."""
    before = state_of_rows(0, 20, patches=(1, 2))
    frames = ReferenceFrames(before).with_frame("a", "reject", line(10, 20))
    assert frames.frames[0].nearest.tolist() == [0, 1]
    after = state_of_rows(0, 0, 20, patches=(1, 7, 2))
    followed = frames.follow(after).frames[0]
    assert followed.nearest.tolist() == [0, 2]
    assert followed.sq.tolist() == [100, 0]
    gone = frames.follow(state_of_rows(20, 12, patches=(2, 9))).frames[0]
    assert (gone.nearest.tolist(), gone.sq.tolist()) == ([1, 0], [4, 0])


def test_following_pauses_every_few_frames() -> None:
    """After each fourth frame, so that others may go on."""
    references = ReferenceFrames(state_of_rows(0, 20))
    for number in range(9):
        references = references.with_frame(f"r{number}", "reject", line(number))
    assert len(list(references.follow_steps(state_of_rows(0, 20, 30)))) == 2
