"""The coreset as it learns: online greedy admission, and doubling where the row budget is reached.

A confirmed frame's patches join, farthest first, while one lies farther from the bank than the admission radius r. Rows
of one fold (`coreset.online_state`) are then r apart or more, and every patch seen lies within r of a row. Where a row
more than the budget k would be kept, r doubles and the rows are thinned: in their order, a row stays only if it lies
farther than the new r from all that stay (the doubling algorithm of Charikar, Chekuri, Feder and Motwani, 1997;
McCutchen and Khuller, 2008). What stays is the core; it alone decides which patches join it from then on.

Two of the k + 1 rows that forced a doubling from r to 2r share a centre of any k, so the best radius possible is r / 2
or more; and what has been let go by then lies within 2r + r + r/2 + ... <= 4r of a row. Hence the guarantee, once the
budget has been reached: every patch lies within 8 times the best radius possible for k rows. The core may be small, so
other rows fill the budget (`coreset.thinning`), and patches farther than the first r from all rows go on joining them.

Where the fit has K folds, each fold has a core of its own, and so has what was learned; one r serves all. Of the k + 1
rows that forced a doubling, more than k / (K + 1) are then of one fold and apart, so that the same reasoning proves 8
times the best radius for a (K + 1)-th of the budget, as long as the fit's covering radius is at most twice the first r.
Whatever the folds are like, `OnlineCoreset.sq_proven` holds.

Vectors are 16-bit integers with one scale a recipe, so squared distances are integers that float64 holds exactly in any
order of summation (D * 2^32 < 2^53): the same frames in the same order give the same rows on any machine.
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.admission import admit
from patchline.engine.coreset.online_state import Learnt, OnlineCoreset
from patchline.engine.coreset.rows import Delta
from patchline.engine.coreset.thinning import cores, doubled, refill_steps
from patchline.engine.errors import EngineError
from patchline.engine.numerics.integer_distances import (
    ScreenedRows,
    separated,
    sq_integer_pairs,
    sq_to_nearest,
)
from patchline.engine.numerics.steps import finish
from patchline.engine.types import Rows


def learn(
    state: OnlineCoreset,
    frame: str,
    patches: Rows,
    nearest: NDArray[np.int64] | None = None,
    living: NDArray[np.bool_] | None = None,
) -> Learnt:
    """`learn_steps`, without a pause."""
    return finish(learn_steps(state, frame, patches, nearest, living))


def learn_steps(
    state: OnlineCoreset,
    frame: str,
    patches: Rows,
    nearest: NDArray[np.int64] | None = None,
    living: NDArray[np.bool_] | None = None,
) -> Generator[None, None, Learnt]:
    """Let a confirmed frame's patches join, in slices where rows are thinned.

    Args:
        state: the rows before.
        frame: its name; a frame that has been learned already changes nothing.
        patches: int16 (P, D), at the state's scale.
        nearest: int64 (P,), a near row of each patch, as an inspection has found it, by whatever generation: patches
            within r of theirs are not compared with the others. It changes the cost, not the rows.
        living: bool (P,), the patches that may join; all unless given.

    Returns:
        The rows after, and how the former ones became them. New rows follow the old, in the order they joined.
    """
    if patches.dtype != np.int16 or patches.ndim != 2 or patches.shape[1] != state.rows.shape[1]:
        expected = f"expected int16 (P, {state.rows.shape[1]})"
        raise EngineError(f"patches of frame {frame!r}: found {patches.dtype} {patches.shape}, {expected}")
    total = Delta.none(len(state.rows))
    if frame in state.frames:
        return state, total
    state = replace(state, frames=(*state.frames, frame))
    may_join = np.arange(len(patches)) if living is None else np.flatnonzero(living)
    if not state.thinned:
        joined = _outside(state, patches, may_join, nearest, state.sq_admission, state.budget - len(state.rows) + 1)
        state, total = state.with_patches(patches, joined, np.ones(len(joined), dtype=bool))
        if len(state.core) <= state.budget:
            return state, total
        state, delta = yield from _thin_steps(state)
        total = total.then(delta)
    state, delta = yield from _learn_thinned_steps(state, patches, may_join, nearest)
    return state, total.then(delta)


def _outside(
    state: OnlineCoreset,
    patches: Rows,
    may_join: NDArray[np.int64],
    nearest: NDArray[np.int64] | None,
    sq_radius: int,
    most: int,
) -> NDArray[np.int64]:
    """The patches that join where they lie farther than a radius from all rows, in order."""
    if nearest is None:
        sq = sq_to_nearest(patches[may_join], state.rows, state.sq_norms)[0]
        far = sq > sq_radius
        return may_join[far][admit(patches[may_join[far]], sq[far], sq_radius, most)]
    near = np.clip(nearest[may_join], 0, len(state.rows) - 1)
    sq_upper = sq_integer_pairs(patches[may_join], state.rows[near])
    far = sq_upper > sq_radius  # a patch within r of any row never joins
    beyond, sq_upper = patches[may_join[far]], sq_upper[far]
    screen = ScreenedRows(state.rows, state.sq_norms)

    def measure(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        return screen.sq_below(sq_upper[numbers], beyond[numbers])

    return may_join[far][admit(beyond, sq_upper, sq_radius, most, measure)]


def _learn_thinned_steps(
    state: OnlineCoreset, patches: Rows, may_join: NDArray[np.int64], nearest: NDArray[np.int64] | None
) -> Generator[None, None, Learnt]:
    """Patches farther than r from the core join it; then those farther than the first r from all rows join the rest."""
    total = Delta.none(len(state.rows))
    while True:
        sq = sq_to_nearest(patches[may_join], state.rows[state.core])[0]
        joined = admit(patches[may_join], sq, state.sq_admission, state.budget - len(state.core) + 1)
        state, delta = state.with_patches(patches, may_join[joined], np.ones(len(joined), dtype=bool))
        total = total.then(delta)
        if len(state.core) <= state.budget:
            break
        state, delta = yield from _thin_steps(state)
        total = total.then(delta)
    joined = _outside(state, patches, may_join, nearest, state.sq_first, len(may_join))
    state, delta = state.with_patches(patches, joined, _apart_from_core(state, patches[joined]))
    total = total.then(delta)
    state, delta = yield from _thin_steps(state)
    return state, total.then(delta)


def _thin_steps(state: OnlineCoreset) -> Generator[None, None, Learnt]:
    """Bring the rows under the budget, if there are more: r doubles while the core alone is larger, and other rows stay
    farthest first. Folds whose rows lie nearer than r are thinned at r before it doubles.
    """
    before = len(state.rows)
    if before <= state.budget:
        return state, Delta.none(before)
    core, at_first = state.core, state.thinned_at_first
    if state.folds > 1 and not state.thinned:
        core = cores(state.rows, state.row_fold, state.sq_apart)
        at_first = len(core) < before
    core, sq_radius = doubled(state.rows, core, state.sq_admission, state.budget, state.row_fold)
    kept = yield from refill_steps(state.rows, core, state.budget, state.row_fold)
    state = replace(state, core=core, sq_admission=sq_radius, thinned_at_first=at_first)
    return state.only(kept), Delta(kept, before, len(kept))


def _apart_from_core(state: OnlineCoreset, new: Rows) -> NDArray[np.bool_]:
    """Which rows, int16 (J, D), that join beside the core are of it all the same, bool (J,): within r of another fold's
    core they may lie, and r from that of their own. Where there is one fold, none is.
    """
    of_core = np.zeros(len(new), dtype=bool)
    if state.folds > 1:
        own = state.core[state.row_fold[state.core] == state.learned_fold]
        kept = separated(np.concatenate([state.rows[own], new]), state.sq_apart)
        of_core[kept[kept >= len(own)] - len(own)] = True
    return of_core
