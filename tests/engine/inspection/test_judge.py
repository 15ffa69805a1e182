"""A judge of one recipe: bands are as good as whole frames, maps are made where they are wanted, banks are followed."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from patchline.engine.bank.calibration import Calibration
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import EngineError
from patchline.engine.inspection import judge as judge_module
from patchline.engine.inspection.judge import Judge, Maps, score_bands
from patchline.engine.inspection.scoring import Scorer
from patchline.engine.search.factory import SearchKind, make_search
from patchline.engine.search.index import NearestNeighbours
from patchline.engine.types import Verdict
from tests.engine.learning_worlds import GRID, RECIPE, SCALE, fitted, patches

SMALL = msgspec.structs.replace(RECIPE, image_size_px=(32, 48))


def embeddings(seed: int = 7, shift: int = 30) -> NDArray[np.float32]:
    """One frame's patches, float32 (16, 6)."""
    return patches(seed, shift=shift).astype(np.float32) * np.float32(SCALE)


def judge_of(bank: MemoryBank, kind: SearchKind = "faiss") -> Judge:
    return Judge("part", bank, make_search(kind, bank.values()))


def with_threshold(bank: MemoryBank, threshold: float) -> MemoryBank:
    calibration = Calibration(
        false_reject_rate=bank.calibration.false_reject_rate, scores=bank.calibration.scores, threshold=threshold
    )
    return replace(bank, calibration=calibration)


@pytest.fixture(scope="module")
def bank() -> MemoryBank:
    return fitted(SMALL)[0]


def test_a_score_is_put_beside_the_threshold_and_the_good_frames(bank: MemoryBank) -> None:
    """Its ratio to the threshold, None where that is 0; its p-value among the held-out frames of the bank."""
    scores = bank.calibration.scores
    for shift in (0, 30):
        told = judge_of(bank).judge([embeddings(shift=shift)], GRID, "none")
        assert told.score_ratio == told.score / bank.threshold
        assert told.p_value == (1 + (scores >= told.score).sum()) / (len(scores) + 1)
        assert (told.p_value <= bank.recipe.false_reject_rate) == (told.verdict is Verdict.REJECT)
    assert judge_of(with_threshold(bank, 0.0)).judge([embeddings()], GRID, "none").score_ratio is None


@pytest.mark.parametrize("maps", ["none", "rejects", "all"])
@pytest.mark.parametrize("k", [1, 3])
def test_bands_give_what_the_whole_frame_gives(bank: MemoryBank, maps: Maps, k: int) -> None:
    """Score, worst patch, nearest row and map do not depend on where a frame is cut."""
    bank = replace(bank, recipe=msgspec.structs.replace(bank.recipe, score_patches=k))
    frame, judge = embeddings(), judge_of(bank)
    whole = judge.judge([frame], GRID, maps)
    for cut in (4, 8, 12):
        parts = judge.judge(iter([frame[:cut], frame[cut:]]), GRID, maps) if maps != "rejects" else whole
        assert (parts.score, parts.worst_patch, parts.nearest_row) == (
            whole.score,
            whole.worst_patch,
            whole.nearest_row,
        )
    distances = np.linalg.norm(frame[:, None].astype(np.float64) - bank.values()[None], axis=2)
    worst = int(distances.min(1).argmax())
    assert whole.worst_patch == divmod(worst, GRID[1])
    assert whole.nearest_row == int(distances[worst].argmin())
    score, nearest = judge.measure(frame)
    assert (score.value, score.worst_patch) == (whole.score, worst)
    assert nearest.tolist() == distances.argmin(1).tolist()


def test_a_score_at_the_threshold_passes_and_one_above_is_rejected(bank: MemoryBank) -> None:
    """The verdict compares strictly; the inspection names recipe, generation, sum and threshold."""
    score = judge_of(bank).judge([embeddings()], GRID, "none").score
    at = judge_of(with_threshold(bank, score)).judge([embeddings()], GRID, "rejects")
    below = judge_of(with_threshold(bank, float(np.nextafter(score, 0)))).judge([embeddings()], GRID, "rejects")
    assert (at.verdict, below.verdict) == (Verdict.PASS, Verdict.REJECT)
    assert at.anomaly_map is None
    assert below.anomaly_map is not None
    assert (at.recipe, at.generation, at.grid, at.threshold) == ("part", 1, GRID, score)
    assert at.generation_sha256 == with_threshold(bank, score).sha256


def test_maps_are_made_for_those_who_want_them(bank: MemoryBank) -> None:
    """None for nobody, all also for a pass, rejects for rejects alone; a map has the recipe's size."""
    passing = with_threshold(bank, 1e9)
    expected: dict[Maps, bool] = {"none": False, "rejects": False, "all": True}
    for maps, made in expected.items():
        inspection = judge_of(passing).judge([embeddings()], GRID, maps)
        assert (inspection.anomaly_map is not None) is made
    rejected = judge_of(with_threshold(bank, 0.0)).judge([embeddings()], GRID, "none")
    assert (rejected.verdict, rejected.anomaly_map) == (Verdict.REJECT, None)
    anomaly_map = judge_of(passing).judge([embeddings()], GRID, "all").anomaly_map
    assert anomaly_map is not None
    assert anomaly_map.shape == (32, 48)


def test_the_first_of_equally_far_patches_stays_the_worst(bank: MemoryBank) -> None:
    """A later band with as far a patch does not take its place."""
    frame = embeddings()
    far = int(np.linalg.norm(frame[:, None] - bank.values()[None], axis=2).min(1).argmax())
    frame[[2, 13]] = frame[far] + 100
    inspection = judge_of(bank).judge([frame[:8], frame[8:]], GRID, "all")
    assert inspection.worst_patch == divmod(2, GRID[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("maps", ["none", "all"])
def test_a_patch_that_is_not_finite_is_an_error(bank: MemoryBank, value: float, maps: Maps) -> None:
    """No search says how far such a patch lies, so no frame passes with it."""
    frame = embeddings()
    frame[9, 3] = value
    with pytest.raises(EngineError, match="recipe 'part': a frame's patch embeddings are not finite"):
        judge_of(bank).judge([frame[:8], frame[8:]], GRID, maps)


@pytest.mark.parametrize("maps", ["none", "rejects", "all"])
def test_nearest_rows_are_noted_where_rows_may_age(bank: MemoryBank, maps: Maps) -> None:
    """Exactly the rows that are nearest to a patch, whatever maps are made; none without the policy."""
    assert judge_of(bank).used is None
    ageing = replace(bank, recipe=msgspec.structs.replace(bank.recipe, unused_days=3))
    judge = judge_of(ageing)
    judge.judge([embeddings()[:4], embeddings()[4:]], GRID, maps)
    nearest = np.linalg.norm(embeddings()[:, None] - bank.values()[None], axis=2).argmin(1)
    assert judge.used is not None
    assert np.flatnonzero(judge.used).tolist() == sorted(set(nearest.tolist()))


def rows_of(bank: MemoryBank, rows: NDArray[np.int16], generation: int = 2) -> MemoryBank:
    """Another generation with these rows."""
    numbers = np.zeros(len(rows), dtype=np.int32)
    return replace(bank, generation=generation, rows=rows, row_frame=numbers, row_patch=numbers)


@pytest.mark.parametrize("kind", ["faiss", "pruned"])
def test_a_generation_that_adds_rows_grows_the_index(bank: MemoryBank, kind: SearchKind) -> None:
    """In one slice; where a copy can grow, the judge before goes on as it was; the one after is as one made anew."""
    judge = judge_of(bank, kind)
    before = judge.judge([embeddings()], GRID, "none").score
    grown = rows_of(bank, np.concatenate([bank.rows, patches(7, shift=30)[:3]]))
    steps = judge.follow_steps(grown)
    with pytest.raises(StopIteration) as done:
        next(steps)
    after = done.value.value
    assert len(after.index) == len(grown.rows)
    assert (after.index is judge.index) is not judge.index.copy_can_grow
    if judge.index.copy_can_grow:
        assert len(judge.index) == len(bank.rows)
        assert judge.judge([embeddings()], GRID, "none").score == before
    with pytest.raises(StopIteration) as done:
        next(after.follow_steps(replace(grown, generation=3)))  # the same rows once more
    assert len(done.value.value.index) == len(grown.rows)
    assert after.judge([embeddings()], GRID, "none").score == judge_of(grown).judge([embeddings()], GRID, "none").score


def test_a_generation_that_removes_rows_has_an_index_of_its_own(
    bank: MemoryBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built in slices, one after each pause, and finds what an index made at once finds."""
    monkeypatch.setattr(judge_module, "SLICE_ROWS", 8)
    judge, fewer = judge_of(bank), rows_of(bank, bank.rows[1:].copy())
    steps, pauses = judge.follow_steps(fewer), 0
    while True:
        try:
            next(steps)
            pauses += 1
        except StopIteration as done:
            after: Judge = done.value
            break
    assert pauses == (len(fewer.rows) - 1) // 8
    assert (len(judge.index), len(after.index)) == (len(bank.rows), len(fewer.rows))
    expected = judge_of(fewer).judge([embeddings()], GRID, "all")
    inspection = after.judge([embeddings()], GRID, "all")
    assert (inspection.score, inspection.nearest_row) == (expected.score, expected.nearest_row)


@pytest.mark.parametrize(("maps", "searched"), [("none", 0), ("rejects", 0), ("all", 1)])
def test_a_pass_is_searched_only_as_far_as_its_score_hangs_on(
    bank: MemoryBank, maps: Maps, searched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no map is wanted of it, the farthest patches are found without the nearest rows of all others."""
    judge = judge_of(with_threshold(bank, 1e9))
    whole: list[int] = []
    judge.judge([embeddings()], GRID, "none")  # neighbours of m* are remembered

    def counted(
        index: NearestNeighbours, scorer: Scorer, bands: Iterable[NDArray[np.float32]], *used: object
    ) -> object:
        whole.append(1)
        return score_bands(index, scorer, bands)

    monkeypatch.setattr(judge_module, "score_bands", counted)
    judge.judge([embeddings()], GRID, maps)
    assert len(whole) == searched


@pytest.mark.parametrize("kind", ["faiss", "pruned"])
def test_a_generation_of_the_same_rows_takes_the_index_as_it_is(bank: MemoryBank, kind: SearchKind) -> None:
    """As where a threshold was chosen: one slice, no copy, other verdicts; a later one grows from there."""
    judge = judge_of(bank, kind)
    score = judge.judge([embeddings()], GRID, "none").score
    chosen = replace(bank, generation=2, calibration=replace(bank.calibration, threshold=score / 2))
    with pytest.raises(StopIteration) as done:
        next(judge.follow_steps(chosen))
    after: Judge = done.value.value
    assert after.index is judge.index
    found = after.judge([embeddings()], GRID, "none")
    assert (found.generation, found.threshold, found.score, found.verdict) == (2, score / 2, score, "reject")
    grown = rows_of(bank, np.concatenate([bank.rows, patches(7, shift=30)[:3]]), generation=3)
    with pytest.raises(StopIteration) as done:
        next(after.follow_steps(grown))
    last = done.value.value.judge([embeddings()], GRID, "none")
    assert (last.generation, last.score) == (3, judge_of(grown).judge([embeddings()], GRID, "none").score)
