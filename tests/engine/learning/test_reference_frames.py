"""Reference frames stay in step with the bank, exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.engine.coreset.event_log import AgedRows, Learned
from patchline.engine.coreset.online import OnlineCoreset
from patchline.engine.errors import EngineError
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.numerics.quantise import dequantise
from patchline.engine.search.factory import make_search
from patchline.engine.types import Rows
from tests.engine.online_worlds import D, fitted, patches_of, run, sq_distances, unhurried, worlds

SCALE = 0.25


def taken(state: OnlineCoreset) -> ReferenceFrames:
    """Five reference frames of all kinds, on the grid of the worlds, so that ties occur."""
    references = ReferenceFrames(state)
    for seed, kind in enumerate(("calibration", "calibration", "defect", "reject", "reject")):
        references = references.with_frame(f"r{seed}", kind, patches_of(seed + 77, 9, 30))  # type: ignore[arg-type]
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
