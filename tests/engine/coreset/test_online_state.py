"""Rows that lie in folds: apart within each, thinned each by itself, and gone on from as they were stored."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline.engine.coreset.event_log import AgedRows, Learned
from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset, begin, resume
from patchline.engine.coreset.thinning import shared
from patchline.engine.errors import EngineError
from patchline.engine.types import Rows
from tests.engine.online_worlds import (
    D,
    fitted_by_folds,
    fold_worlds,
    patches_of,
    run,
    same,
    sq_distances,
    unhurried,
)

World = tuple[OnlineCoreset, dict[str, Rows]]


def stored(state: OnlineCoreset) -> OnlineCoreset:
    """The state made anew from what a store keeps."""
    return resume(
        state.rows.copy(),
        state.row_frame,
        state.row_patch,
        state.frames,
        sq_admission=state.sq_admission,
        sq_first=state.sq_first,
        sq_fit=state.sq_fit,
        budget=state.budget,
        row_fold=state.row_fold,
        folds=state.folds,
        thinned_at_first=state.thinned_at_first,
    )


def test_the_first_radius_is_a_share_of_the_smallest_folds_own() -> None:
    """So the rows of every fold are that far apart, while rows of two folds may be neighbours or the same."""
    patches = np.array([[0], [0], [10], [40], [20], [80], [30], [120]], dtype=np.int16)
    state = fitted_by_folds(patches, 2, 2, 10, admission=0.5)
    assert (state.sq_first, state.sq_fit) == (25, 40**2)
    assert sorted(state.row_fold.tolist()) == [0, 0, 1, 1]
    for fold in (0, 1):
        own = state.rows[state.row_fold == fold].astype(int)
        assert (own[0, 0] - own[1, 0]) ** 2 >= state.sq_first


@unhurried
@given(fold_worlds)
def test_within_a_fold_the_core_is_apart_and_every_patch_is_covered(world: World) -> None:
    """Rows keep the budget; the core of each fold is r apart; what was seen lies within the proven radius of the core.

    Three quarters of the budget stay over a thinning, unless the rest are equal to rows that do, and no fold is lost.
    """
    first, frames = world
    state, seen = first, [first.rows]
    for name, patches in frames.items():
        before = state
        state, delta = learn(state, name, patches)
        seen.append(patches)
        assert len(state.rows) <= state.budget
        assert np.array_equal(before.rows[delta.kept], state.rows[: len(delta.kept)])
        assert np.array_equal(before.row_fold[delta.kept], state.row_fold[: len(delta.kept)])
        assert (state.row_fold[len(delta.kept) :] == state.folds).all()
        core, fold = state.rows[state.core], state.row_fold[state.core]
        for number in np.unique(state.row_fold):
            own = core[fold == number]
            assert len(own)
            apart = sq_distances(own, own) + np.eye(len(own), dtype=np.int64) * (state.sq_admission + 1)
            assert apart.min() > state.sq_apart
        assert sq_distances(np.concatenate(seen), core).min(1).max() <= state.sq_proven * (1 + 1e-12)
        assert set(range(state.folds)) <= set(state.row_fold.tolist())


@unhurried
@given(fold_worlds, st.data())
def test_learning_by_folds_goes_on_from_what_is_stored(world: World, data: st.DataObject) -> None:
    """A state made anew learns as the one that has lived: same rows, same core, thinned or not."""
    lived = again = world[0]
    for name, patches in world[1].items():
        lived, _ = learn(lived, name, patches)
        if data.draw(st.booleans()):
            again = stored(again)
        again, _ = learn(again, name, patches)
        assert same(lived, again)


@unhurried
@given(fold_worlds, st.data())
def test_unlearning_by_folds_gives_the_bank_that_never_saw_the_frame(world: World, data: st.DataObject) -> None:
    """With ageing of the fit and of learned rows, and thinning, in between: bit for bit, folds and core as well."""
    first, frames = world
    log: list[Learned | AgedRows] = [Learned(frame=name) for name in frames]
    learning = run(first, frames, log)
    state = learning.state
    rows = [(state.frames[f], int(p)) for f, p in zip(state.row_frame, state.row_patch, strict=True)]
    aged = data.draw(st.lists(st.sampled_from(rows), max_size=4, unique=True))
    left: dict[int, set[int]] = {fold: set() for fold in range(first.folds)}
    for fold, frame, patch in zip(first.row_fold, first.row_frame, first.row_patch, strict=True):
        if (first.frames[frame], int(patch)) not in aged:
            left[int(fold)].add(int(patch))
    if all(left.values()):
        log.insert(data.draw(st.integers(0, len(log))), AgedRows(rows=tuple(aged)))
    gone = data.draw(st.sampled_from(sorted(frames)))
    never_saw = run(first, frames, [event for event in log if event != Learned(frame=gone)])
    *_, unlearned = run(first, frames, log).unlearn(gone)
    assert same(unlearned.state, never_saw.state)
    assert same(stored(unlearned.state), unlearned.state)


@settings(unhurried, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 3), st.sampled_from([0.5, 0.7, 1.0]))
def test_a_thinned_bank_is_within_eight_times_the_best_of_a_share_of_its_rows(
    seed: int, folds: int, admission: float
) -> None:
    """By brute force: no (K + 1)-th of the budget of centres covers better than half the widest gap among one more.

    As long as the largest fold's radius is at most twice the first r.
    """
    budget = 2 * folds + 1
    fit_patches, new = patches_of(seed, 4 * folds), patches_of(seed + 1, 14 - 4 * folds, shift=seed % 200)
    first = fitted_by_folds(fit_patches, 2, folds, budget, admission)
    state, _ = learn(first, "new", new)
    if not state.thinned or first.sq_fit > 4 * first.sq_first:
        return
    everything = np.concatenate([fit_patches, new])
    sq = sq_distances(everything, everything)
    share = budget // (folds + 1)
    groups = combinations(range(len(everything)), share + 1)
    best = np.sqrt(max(min(sq[i, j] for i, j in combinations(group, 2)) for group in groups)) / 2
    assert np.sqrt(state.sq_proven) <= 8 * best * (1 + 1e-12)


def test_folds_are_thinned_each_by_itself() -> None:
    """What stays of a fold hangs on its own rows and the radius: rows of another fold beside it take nothing away."""
    rows = np.array([[0], [1], [50], [51], [100], [101], [150], [151]], dtype=np.int16)
    folds = np.array([0, 1] * 4, dtype=np.int32)
    state = begin(
        rows, folds, np.arange(8, dtype=np.int32), ("a", "b"), sq_covering=2500, row_fold=folds, folds=2, budget=8
    )
    state, _ = learn(state, "new", np.array([[400]], dtype=np.int16))
    assert state.sq_admission == 10_000
    assert state.rows[state.core][:, 0].tolist() == [0, 1, 150, 151, 400]
    assert state.rows[:, 0].tolist() == [0, 1, 50, 150, 151, 400]  # three quarters of 8, the folds by turns
    assert state.row_fold.tolist() == [0, 1, 0, 0, 1, 2]


def test_rows_nearer_than_the_radius_are_let_go_before_it_doubles() -> None:
    """A projection chooses such rows; the radius that is proven is then r longer, and the state says so."""
    rows = np.array([[0], [100], [1], [103], [2], [106]], dtype=np.int16)
    folds = np.array([0, 1] * 3, dtype=np.int32)
    state = begin(
        rows, folds, np.arange(6, dtype=np.int32), ("a", "b"), sq_covering=100, row_fold=folds, folds=2, budget=6
    )
    state, _ = learn(state, "new", np.array([[400]], dtype=np.int16))
    assert (state.sq_admission, state.thinned_at_first, state.thinned) == (100, True, True)
    assert state.rows[state.core][:, 0].tolist() == [0, 100, 400]
    assert state.sq_proven == 400
    assert same(stored(state), state)
    assert not replace(state, thinned_at_first=False).thinned


def test_a_budget_must_have_a_row_for_each_fold_and_one_more() -> None:
    """Each keeps one row however large the radius grows, and what is learned needs one as well."""
    rows = np.zeros((2, D), dtype=np.int16)
    folds = np.arange(2, dtype=np.int32)
    with pytest.raises(EngineError, match="row budget is 2, expected at least 3: a row for each fold, and one more"):
        begin(rows, folds, folds, ("a", "b"), sq_covering=4, row_fold=folds, folds=2, budget=2)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=6), st.integers(0, 120))
def test_what_is_shared_is_shared_out(takers: list[tuple[int, int]], total: int) -> None:
    """All of it, or all that they can take; nobody gets more than that, nor one off its exact share where it can."""
    sizes, most = [size for size, _ in takers], [take for _, take in takers]
    shares = shared(total, sizes, most)
    assert sum(shares) == min(total, sum(most))
    assert all(0 <= share <= take for share, take in zip(shares, most, strict=True))
    exact = [total * size / sum(sizes) for size in sizes]
    if all(take >= size_share + 1 for take, size_share in zip(most, exact, strict=True)):
        assert all(abs(share - size_share) < 1 for share, size_share in zip(shares, exact, strict=True))
    assert shared(7, [1, 1, 1], [9, 9, 9]) == [3, 2, 2]
    assert shared(7, [1, 1, 5], [9, 9, 1]) == [3, 3, 1]
