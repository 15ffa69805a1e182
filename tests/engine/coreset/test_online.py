"""Online learning of rows: exact, bounded, and undone by replay."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline.engine.coreset.event_log import AgedRows, Learned, Learning
from patchline.engine.coreset.online import learn
from patchline.engine.coreset.online_state import OnlineCoreset, begin, resume
from patchline.engine.coreset.rows import Delta, GrowingRows
from patchline.engine.errors import EngineError
from patchline.engine.numerics.integer_distances import ScreenedRows, sq_integer_pairs, sq_norms, sq_to_nearest
from patchline.engine.types import Rows
from tests.engine.online_worlds import D, fitted, patches_of, run, same, sq_distances, unhurried, worlds


@unhurried
@given(st.integers(0, 10_000), st.sampled_from([4, 60, 3000]))
def test_joining_rows_are_those_of_the_definition(seed: int, spread: int) -> None:
    """While a patch lies farther than r from the bank, the farthest joins, the lowest patch among equals."""
    first = fitted(patches_of(seed, 20, spread), 4, 1000)
    patches = patches_of(seed + 1, 40, spread, shift=spread)
    expected: list[int] = []
    while True:
        nearest = sq_distances(patches, np.concatenate([first.rows, patches[expected]])).min(1)
        if nearest.max() <= first.sq_admission:
            break
        expected.append(int(nearest.argmax()))
    state, delta = learn(first, "new", patches)
    assert state.row_patch[len(first.rows) :].tolist() == expected
    assert (delta.added, delta.removed) == (len(expected), 0)


@unhurried
@given(worlds, st.integers(0, 1000))
def test_near_rows_from_the_inspection_change_no_row(world: tuple[OnlineCoreset, dict[str, Rows]], seed: int) -> None:
    """Ruling patches out by one row each gives the rows that measuring all gives, whichever rows those are."""
    plain, bounded = world[0], world[0]
    rng = np.random.default_rng(seed)
    for name, patches in world[1].items():
        nearest = sq_distances(patches, bounded.rows).argmin(1) + rng.integers(0, 3, len(patches)) // 2 * 5
        plain, _ = learn(plain, name, patches)
        bounded, _ = learn(bounded, name, patches, nearest=nearest)
        assert same(plain, bounded)


@unhurried
@given(worlds)
def test_every_patch_seen_lies_within_the_proven_radius(world: tuple[OnlineCoreset, dict[str, Rows]]) -> None:
    """Rows stay within the budget, and every patch learned within the proven radius of one, after any doubling."""
    state, seen = world[0], [world[0].rows]
    for name, patches in world[1].items():
        state, _ = learn(state, name, patches)
        seen.append(patches)
        assert len(state.rows) <= state.budget
        assert sq_distances(np.concatenate(seen), state.rows).min(1).max() <= state.sq_proven * (1 + 1e-12)
        if not state.thinned:
            assert sq_distances(patches, state.rows).min(1).max() <= state.sq_admission


@settings(unhurried, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 3), st.sampled_from([0.5, 0.7, 1.0]))
def test_a_thinned_bank_is_within_eight_times_the_best(seed: int, budget: int, admission: float) -> None:
    """By brute force: no `budget` centres anywhere cover better than half the widest gap among budget + 1 patches."""
    fit_patches, new = patches_of(seed, 7), patches_of(seed + 1, 8, shift=seed % 200)
    state = fitted(fit_patches, budget, budget, admission)
    state, _ = learn(state, "new", new)
    if not state.thinned:
        return
    everything = np.concatenate([fit_patches, new])
    sq = sq_distances(everything, everything)
    widest = max(min(sq[i, j] for i, j in combinations(group, 2)) for group in combinations(range(15), budget + 1))
    best = np.sqrt(widest) / 2
    assert np.sqrt(sq_distances(everything, state.rows).min(1).max()) <= np.sqrt(state.sq_proven) * (1 + 1e-12)
    assert np.sqrt(state.sq_proven) <= 8 * best * (1 + 1e-12)


@unhurried
@given(worlds)
def test_a_delta_says_what_became_of_every_row(world: tuple[OnlineCoreset, dict[str, Rows]]) -> None:
    """Kept rows keep their values and order, and the changes of several frames join into one."""
    first = state = world[0]
    total = Delta(np.arange(len(first.rows)), len(first.rows), len(first.rows))
    for name, patches in world[1].items():
        before = state
        state, delta = learn(state, name, patches)
        assert np.array_equal(before.rows[delta.kept], state.rows[: len(delta.kept)])
        assert (delta.before, delta.after) == (len(before.rows), len(state.rows))
        total = total.then(delta)
    assert np.array_equal(first.rows[total.kept], state.rows[: len(total.kept)])


@unhurried
@given(worlds)
def test_learning_a_frame_again_changes_nothing(world: tuple[OnlineCoreset, dict[str, Rows]]) -> None:
    """The second time, state and log stay as they are."""
    learning = Learning(world[0], world[1].__getitem__)
    for name in world[1]:
        learning.learn(name)
    state, log = learning.state, learning.log
    for name in world[1]:
        delta = learning.learn(name)
        assert (delta.added, delta.removed) == (0, 0)
    assert learning.state is state
    assert learning.log == log


@unhurried
@given(worlds, st.data())
def test_unlearning_gives_the_bank_that_never_saw_the_frame(
    world: tuple[OnlineCoreset, dict[str, Rows]], data: st.DataObject
) -> None:
    """With ageing and thinning in between, unlearning equals the same history without the frame, bit for bit."""
    first, frames = world
    log: list[Learned | AgedRows] = [Learned(frame=name) for name in frames]
    learning = run(first, frames, log)
    rows = [
        (learning.state.frames[f], int(p))
        for f, p in zip(learning.state.row_frame, learning.state.row_patch, strict=True)
    ]
    aged = data.draw(st.lists(st.sampled_from(rows), max_size=3, unique=True))
    fit_rows = {("fit", int(p)) for p in first.row_patch}
    if fit_rows - set(aged):
        log.insert(data.draw(st.integers(0, len(log))), AgedRows(rows=tuple(aged)))
    gone = data.draw(st.sampled_from(sorted(frames)))
    never_saw = run(first, frames, [event for event in log if event != Learned(frame=gone)])
    *_, unlearned = run(first, frames, log).unlearn(gone)
    assert same(unlearned.state, never_saw.state)
    assert gone not in unlearned.state.frames


@unhurried
@given(worlds, st.data())
def test_what_has_not_aged_stays_covered(world: tuple[OnlineCoreset, dict[str, Rows]], data: st.DataObject) -> None:
    """After ageing, the rows are gone, and every living patch lies within the proven radius of a row that stays."""
    learning = run(world[0], world[1], [Learned(frame=name) for name in world[1]])
    state = learning.state
    learned = [
        (state.frames[f], int(p))
        for f, p in zip(state.row_frame, state.row_patch, strict=True)
        if state.frames[f] != "fit"
    ]
    aged = data.draw(st.lists(st.sampled_from(learned), max_size=4, unique=True)) if learned else []
    learning.age(aged)
    after = learning.state
    names = {(after.frames[f], int(p)) for f, p in zip(after.row_frame, after.row_patch, strict=True)}
    assert not names & set(aged)
    assert after.sq_admission <= state.sq_admission
    for name, patches in world[1].items():
        living = patches[learning.living(name)]
        assert (sq_distances(living, after.rows).min(1) <= after.sq_proven * (1 + 1e-12)).all()


def test_distances_are_exact_at_the_ends_of_the_range() -> None:
    """With 1,536 dimensions at +-32767, one step of one value decides, as it does in integers."""
    row = np.full((1, 1536), -32767, dtype=np.int16)
    patches = np.full((2, 1536), 32767, dtype=np.int16)
    patches[0, 0] -= 1
    sq_far = 1536 * 65534**2
    first = begin(row, np.zeros(1, np.int32), np.zeros(1, np.int32), ("fit",), sq_covering=sq_far - 1, budget=10)
    state, _ = learn(first, "new", patches)
    assert state.row_patch.tolist() == [0, 1]
    first = begin(row, np.zeros(1, np.int32), np.zeros(1, np.int32), ("fit",), sq_covering=sq_far, budget=10)
    assert learn(first, "new", patches)[1].added == 0


@unhurried
@given(st.integers(0, 10_000), st.sampled_from([3, 40]), st.sampled_from([0, 31_000]))
def test_bounds_give_the_distances_of_comparing_all(seed: int, dimensions: int, shift: int) -> None:
    """Whichever row the upper bounds come from, also where float32 rounds: exactly the nearest row's distance."""
    rng = np.random.default_rng(seed)
    patches, rows = (rng.integers(-300, 300, (n, dimensions)).astype(np.int16) + np.int16(shift) for n in (300, 40))
    patches[:20] = rows[:20]
    bound = sq_integer_pairs(patches, rows[rng.integers(0, 40, 300)])
    assert (
        ScreenedRows(rows, sq_norms(rows)).sq_below(bound, patches).tolist() == sq_to_nearest(patches, rows)[0].tolist()
    )


def test_thinning_keeps_the_first_of_two_near_rows() -> None:
    """Rows stay in their order, each only if farther than the new radius from all that stay."""
    rows = np.array([[0], [11], [22], [33], [100]], dtype=np.int16)
    state = begin(rows, np.zeros(5, np.int32), np.arange(5, dtype=np.int32), ("fit",), sq_covering=100, budget=5)
    state, _ = learn(state, "new", np.array([[200]], dtype=np.int16))
    assert state.rows[:, 0].tolist() == [0, 22, 100, 200]
    assert state.sq_admission == 400


@unhurried
@given(worlds)
def test_thinning_leaves_a_bank_that_can_inspect(world: tuple[OnlineCoreset, dict[str, Rows]]) -> None:
    """However few rows prove the radius, three quarters of the budget or more stay, all distinct; the core alone
    proves it.
    """
    state, seen = world[0], [world[0].rows]
    for name, patches in world[1].items():
        state, _ = learn(state, name, patches)
        seen.append(patches)
        core = state.rows[state.core]
        assert sq_distances(np.concatenate(seen), core).min(1).max() <= state.sq_proven * (1 + 1e-12)
        apart = sq_distances(core, core) + np.eye(len(core), dtype=np.int64) * (state.sq_admission + 1)
        assert apart.min() >= state.sq_admission  # the fit's own rows may lie exactly so far apart
        if state.thinned:
            assert len(state.rows) >= state.budget - state.budget // 4
        assert len(np.unique(state.rows, axis=0)) == len(state.rows)


@unhurried
@given(worlds, st.data())
def test_learning_goes_on_from_what_is_stored(
    world: tuple[OnlineCoreset, dict[str, Rows]], data: st.DataObject
) -> None:
    """A state made anew from its rows and radii learns as the one that has lived, thinned or not."""
    lived = stored = world[0]
    for name, patches in world[1].items():
        lived, _ = learn(lived, name, patches)
        if data.draw(st.booleans()):
            stored = resume(
                stored.rows.copy(),
                stored.row_frame,
                stored.row_patch,
                stored.frames,
                sq_admission=stored.sq_admission,
                sq_first=stored.sq_first,
                sq_fit=stored.sq_fit,
                budget=stored.budget,
            )
        stored, _ = learn(stored, name, patches)
        assert same(lived, stored)
        assert lived.core.tolist() == stored.core.tolist()


def test_two_that_grow_from_the_same_rows_do_not_meet() -> None:
    """What was given out stays; the rows lie in one array while one line of them grows, and apart where it forks."""
    first = GrowingRows(np.zeros((4, D), dtype=np.int16))
    trunk = first.with_more(np.full((1, D), 1, dtype=np.int16))
    one, other = (trunk.with_more(np.full((2, D), value, dtype=np.int16)) for value in (2, 3))
    assert [rows.values[:, 0].tolist() for rows in (first, trunk, one, other)] == [
        [0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 2, 2],
        [0, 0, 0, 0, 1, 3, 3],
    ]
    assert np.shares_memory(trunk.values, one.values)
    assert not np.shares_memory(trunk.values, other.values)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"admission": 0.4}, "admission is 0.4"), ({"budget": 1}, "row budget is 1")],
)
def test_impossible_settings_are_refused(change: dict[str, float], message: str) -> None:
    """The message names the setting and what was expected."""
    rows = np.zeros((2, D), dtype=np.int16)
    settings = {"admission": 1.0, "budget": 5, **change}
    with pytest.raises(EngineError, match=message):
        begin(
            rows,
            np.zeros(2, np.int32),
            np.zeros(2, np.int32),
            ("fit",),
            sq_covering=4,
            admission=settings["admission"],
            budget=int(settings["budget"]),
        )


def test_a_frame_of_the_fit_cannot_be_unlearned() -> None:
    """It takes a refit, and the message says so; an unknown frame is named."""
    learning = Learning(fitted(patches_of(1), 3, 10), {"new": patches_of(2)}.__getitem__)
    with pytest.raises(EngineError, match="refit"):
        learning.unlearn("fit")
    with pytest.raises(EngineError, match="'x' has not been learned"):
        learning.unlearn("x")
