"""The reference frames of a store: read when they are needed, in step with the rows, the newest rejects alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from patchline.engine.bank.reader import FRAMES, REJECTS
from patchline.engine.bank.state import first_state
from patchline.engine.bank.store import GenerationStore
from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.errors import BankFileError
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.learning.reference_store import RECENT_REJECTS, KnownFrames
from patchline.engine.numerics.steps import finish
from tests.engine.learning_worlds import SCALE, new_store, patches


@pytest.fixture
def store(tmp_path: Path) -> GenerationStore:
    return new_store(tmp_path)


@pytest.fixture
def state(store: GenerationStore) -> OnlineCoreset:
    return first_state(store.bank(1))


@pytest.fixture
def known(store: GenerationStore) -> KnownFrames:
    return KnownFrames(store, store.manifest(1).calibration, ())


def names(references: ReferenceFrames, kind: str) -> list[str]:
    return [frame.name for frame in references.frames if frame.kind == kind]


def numbered(count: int, start: int = 0) -> Sequence[str]:
    return [f"r{number}" for number in range(start, start + count)]


def test_they_are_read_once_and_follow_the_rows(known: KnownFrames, state: OnlineCoreset) -> None:
    """Calibration frames come first; a later state of the rows lowers their distances as measuring anew does."""
    references = finish(known.sync_steps(state, {}))
    assert names(references, "calibration") == [f"calibration-{n}" for n in range(5)]
    assert finish(known.sync_steps(state, {})) == references or references.state is state
    later, _ = learn(state, "f1", patches(500))
    followed = finish(known.sync_steps(later, {}))
    assert followed.state is later
    for frame in followed.frames:
        anew = ReferenceFrames(later).with_frame(frame.name, "calibration", frame.patches).frames[0]
        assert np.array_equal(frame.sq, anew.sq)
        assert np.array_equal(frame.nearest, anew.nearest)


def test_known_defects_come_and_go(known: KnownFrames, store: GenerationStore, state: OnlineCoreset) -> None:
    """Those of the chain are read; one that it no longer names is left out."""
    defects = {name: store.keep(name, patches(number)) for number, name in enumerate(["d1", "d2"])}
    assert names(finish(known.sync_steps(state, defects)), "defect") == ["d1", "d2"]
    assert names(finish(known.sync_steps(state, {"d2": defects["d2"]})), "defect") == ["d2"]
    assert names(finish(known.sync_steps(state, {})), "defect") == []


def test_the_newest_rejects_are_remembered(known: KnownFrames, store: GenerationStore, state: OnlineCoreset) -> None:
    """So many, the oldest going first, whether stored or only noted; one noted again is the newest."""
    for number, name in enumerate(numbered(RECENT_REJECTS + 3)):
        known.note_reject(name, patches(number))
    assert names(finish(known.sync_steps(state, {})), "reject") == numbered(RECENT_REJECTS, 3)
    stored = known.store_rejects()
    assert [frame.name for frame in stored] == numbered(RECENT_REJECTS, 3)
    assert np.array_equal(store.patches(stored[0], REJECTS), patches(3))
    known.note_reject("r5", patches(77))
    known.note_reject("new", patches(78))
    references = finish(known.sync_steps(state, {}))
    assert sorted(names(references, "reject")) == sorted(["r4", *numbered(RECENT_REJECTS - 3, 6), "r5", "new"])
    later = [frame.name for frame in known.store_rejects()]
    assert later == ["r4", *numbered(RECENT_REJECTS - 3, 6), "r5", "new"]
    assert known.store_rejects() == known.store_rejects()


def test_a_reject_that_another_writer_removed_is_passed_over(store: GenerationStore, state: OnlineCoreset) -> None:
    """Its file is gone once it is no longer recent; the others are read all the same."""
    stored = [store.keep(name, patches(number), REJECTS) for number, name in enumerate(["a", "b"])]
    (Path(store.where) / REJECTS / f"{stored[0].sha256}.safetensors").unlink()
    known = KnownFrames(store, store.manifest(1).calibration, stored)
    assert names(finish(known.sync_steps(state, {})), "reject") == ["b"]
    assert [frame.name for frame in known.store_rejects()] == ["b"]


def test_scores_of_the_two_last_are_remembered(known: KnownFrames, state: OnlineCoreset) -> None:
    """Asked for again, they are the same array; a third makes the first be computed anew, with the same values."""
    frames = [ReferenceFrames(state).with_frame("a", "reject", patches(number)) for number in range(3)]
    scores = [known.scores(references, SCALE, 3, 1) for references in frames[:2]]
    assert known.scores(frames[0], SCALE, 3, 1) is scores[0]
    assert known.scores(frames[1], SCALE, 3, 1) is scores[1]
    known.scores(frames[2], SCALE, 3, 1)
    assert known.scores(frames[1], SCALE, 3, 1) is scores[1]
    anew = known.scores(frames[0], SCALE, 3, 1)
    assert anew is not scores[0]
    assert np.array_equal(anew, scores[0])


def test_it_goes_on_from_references_that_were_taken(known: KnownFrames, state: OnlineCoreset) -> None:
    """What a proposal has brought in step is not read again."""
    references = finish(known.sync_steps(state, {}))
    later, _ = learn(state, "f1", patches(900, shift=90))
    followed = references.follow(later)
    known.take(followed)
    assert finish(known.sync_steps(later, {})) is followed


def damage(store: GenerationStore, folder: str, sha256: str) -> None:
    path = Path(store.where) / folder / f"{sha256}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def test_a_damaged_reject_is_passed_over_and_noted(store: GenerationStore, state: OnlineCoreset) -> None:
    """The others are read; one that another writer removed is nothing to be said of."""
    stored = [store.keep(name, patches(number), REJECTS) for number, name in enumerate(["a", "b", "c"])]
    damage(store, REJECTS, stored[0].sha256)
    (Path(store.where) / REJECTS / f"{stored[1].sha256}.safetensors").unlink()
    known = KnownFrames(store, store.manifest(1).calibration, stored)
    assert names(finish(known.sync_steps(state, {})), "reject") == ["c"]
    ((kind, frame, why),) = known.passed_over
    assert (kind, frame) == ("reject", "a")
    assert "truncated" in why


def test_a_damaged_defect_is_left_out_and_noted_until_it_is_mended(
    known: KnownFrames, store: GenerationStore, state: OnlineCoreset
) -> None:
    """It is noted once, and read again as soon as it can be; one that is no longer known is forgotten."""
    defects = {name: store.keep(name, patches(number)) for number, name in enumerate(["d1", "d2"])}
    path = Path(store.where) / FRAMES / f"{defects['d1'].sha256}.safetensors"
    content = path.read_bytes()
    path.unlink()
    for _ in range(2):
        assert names(finish(known.sync_steps(state, defects)), "defect") == ["d2"]
    assert list(known.unread) == ["d1"]
    assert [(kind, frame) for kind, frame, _ in known.passed_over] == [("defect", "d1")]
    path.write_bytes(content)
    assert sorted(names(finish(known.sync_steps(state, defects)), "defect")) == ["d1", "d2"]
    assert known.unread == {}
    other = {"d3": store.keep("d3", patches(7))}
    damage(store, FRAMES, other["d3"].sha256)
    finish(known.sync_steps(state, other))
    assert list(known.unread) == ["d3"]
    finish(known.sync_steps(state, {}))
    assert known.unread == {}


def test_a_store_that_is_away_loses_nothing(
    store: GenerationStore, state: OnlineCoreset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read now is not damaged: the error is passed on, and the frames are still known."""
    stored = [store.keep("a", patches(1), REJECTS)]
    known = KnownFrames(store, store.manifest(1).calibration, stored)
    finish(KnownFrames(store, store.manifest(1).calibration, ()).sync_steps(state, {}))
    read = store._blobs.read

    def away(name: str, most_bytes: int = 0) -> bytes:
        if name.startswith(REJECTS):
            raise OSError("no route")
        return read(name, most_bytes)

    with monkeypatch.context() as patched:
        patched.setattr(store._blobs, "read", away)
        with pytest.raises(BankFileError, match="no route"):
            finish(known.sync_steps(state, {}))
    assert names(finish(known.sync_steps(state, {})), "reject") == ["a"]
    assert known.passed_over == []


def test_damaged_calibration_frames_stop_learning(store: GenerationStore, state: OnlineCoreset) -> None:
    """No threshold follows without them, and none is made up."""
    calibration = store.manifest(1).calibration
    damage(store, FRAMES, calibration[0].sha256)
    with pytest.raises(BankFileError, match="truncated"):
        finish(KnownFrames(store, calibration, ()).sync_steps(state, {}))
