"""The coreset as it learns: online greedy admission, and doubling where the row budget is reached.

A confirmed frame's patches join, farthest first, while one lies farther from the bank than the admission radius r. Rows
are then more than r apart, and every patch seen lies within r of a row. Where a row more than the budget k would be
kept, r doubles and the rows are thinned: in their order, a row stays only if it lies farther than the new r from all
that stay (the doubling algorithm of Charikar, Chekuri, Feder and Motwani, 1997; McCutchen and Khuller, 2008). What
stays is the core; it alone decides which patches join it from then on.

Two of the k + 1 rows that forced a doubling from r to 2r share a centre of any k, so the best radius possible is r / 2
or more; and what has been let go by then lies within 2r + r + r/2 + ... <= 4r of a row. Hence the guarantee, once the
budget has been reached: every patch lies within 8 times the best radius possible for k rows. The core may be small, so
other rows fill the budget (`coreset.thinning`), and patches farther than the first r from all rows go on joining them.

Vectors are 16-bit integers with one scale a recipe, so squared distances are integers that float64 holds exactly in any
order of summation (D * 2^32 < 2^53): the same frames in the same order give the same rows on any machine.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.admission import admit
from patchline.engine.coreset.rows import Delta, GrowingRows
from patchline.engine.coreset.thinning import doubled, refill_steps
from patchline.engine.errors import EngineError
from patchline.engine.numerics.integer_distances import (
    ScreenedRows,
    separated,
    sq_integer_pairs,
    sq_norms,
    sq_to_nearest,
)
from patchline.engine.numerics.steps import finish
from patchline.engine.types import Rows

Learnt: TypeAlias = tuple["OnlineCoreset", Delta]
"""The rows after, and how those before became them."""
DIMENSIONS = 2**21
"""Embeddings of fewer dimensions have squared distances below 2^53."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OnlineCoreset:
    """The rows of a memory bank and the state of their learning; never changed, each update makes another.

    `rows` is int16 (M, D); row i came from patch `row_patch[i]` of frame `row_frame[i]`, int32 (M,), an index into
    `frames`, which the fit's frames open. `sq_admission` is r squared, `sq_first` what it was at first, `sq_fit` the
    squared covering radius of the fit over its own patches, all in the integers' units. At most `budget` rows are kept;
    `core`, int64 ascending, are those more than r apart that prove the radius: all of them until rows are thinned.
    `sq_norms`, float64 (M,), are the rows' squared lengths.
    """

    row_frame: NDArray[np.int32]
    row_patch: NDArray[np.int32]
    frames: tuple[str, ...]
    sq_admission: int
    sq_first: int
    sq_fit: int
    budget: int
    core: NDArray[np.int64]
    _growing: GrowingRows = field(repr=False)
    sq_norms: NDArray[np.float64] = field(repr=False)

    @property
    def rows(self) -> Rows:
        """The rows' values."""
        return self._growing.values

    @property
    def sq_proven(self) -> float:
        """Squared radius within which every patch seen is proven to lie of a row, in the integers' units.

        With j doublings the chain of rows that stood in for a patch is at most R + 2r + 4r + ... + 2^j r long, R the
        larger of the fit's covering radius and the first r.
        """
        first = math.sqrt(self.sq_first)
        steps = math.sqrt(self.sq_admission) - first  # r + 2r + ... + 2^(j-1) r
        return (max(first, math.sqrt(self.sq_fit)) + 2 * steps) ** 2

    @property
    def thinned(self) -> bool:
        """Whether the row budget has ever been reached."""
        return self.sq_admission > self.sq_first


def begin(
    rows: Rows,
    row_frame: NDArray[np.int32],
    row_patch: NDArray[np.int32],
    frames: tuple[str, ...],
    *,
    sq_covering: int,
    admission: float = 1.0,
    budget: int,
) -> OnlineCoreset:
    """The state that a fit leaves: its greedy rows, and r a share of its covering radius.

    Args:
        rows: int16 (M, D), chosen by greedy k-center, so no two lie nearer than the covering radius.
        row_frame, row_patch: int32 (M,), where they came from.
        frames: names of the fit's frames.
        sq_covering: the covering radius squared, in the integers' units.
        admission: r as a share of the covering radius, 0.5 to 1: a smaller share would void the guarantee of 8.
        budget: rows kept at most, M or more.

    Raises:
        EngineError: an argument lies outside its range.
    """
    if not 0.5 <= admission <= 1:
        raise EngineError(f"admission is {admission:g}, expected 0.5 to 1 times the covering radius")
    if budget < len(rows):
        raise EngineError(f"the row budget is {budget}, expected at least the fit's {len(rows)} rows")
    if rows.shape[1] >= DIMENSIONS:
        raise EngineError(f"embeddings have {rows.shape[1]} dimensions, expected fewer than {DIMENSIONS}")
    sq_first = math.ceil(sq_covering * admission**2)
    return resume(
        rows,
        row_frame,
        row_patch,
        frames,
        sq_admission=sq_first,
        sq_first=sq_first,
        sq_fit=sq_covering,
        budget=budget,
    )


def resume(
    rows: Rows,
    row_frame: NDArray[np.int32],
    row_patch: NDArray[np.int32],
    frames: tuple[str, ...],
    *,
    sq_admission: int,
    sq_first: int,
    sq_fit: int,
    budget: int,
) -> OnlineCoreset:
    """A state as it was stored; see `OnlineCoreset` for what each is."""
    thinned = sq_admission > sq_first
    return OnlineCoreset(
        row_frame=row_frame,
        row_patch=row_patch,
        frames=frames,
        sq_admission=sq_admission,
        sq_first=sq_first,
        sq_fit=sq_fit,
        budget=budget,
        core=separated(rows, sq_admission) if thinned else np.arange(len(rows)),
        _growing=GrowingRows(rows),
        sq_norms=sq_norms(rows),
    )


def sq_integer(radius: float, scale: float) -> int:
    """The squared distance, in the integers' units, whose root times `scale` (a power of two) is `radius`."""
    return round((radius / scale) ** 2)


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
        state, total = _take(state, patches, joined, core=True)
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
        state, delta = _take(state, patches, may_join[joined], core=True)
        total = total.then(delta)
        if len(state.core) <= state.budget:
            break
        state, delta = yield from _thin_steps(state)
        total = total.then(delta)
    joined = _outside(state, patches, may_join, nearest, state.sq_first, len(may_join))
    state, delta = _take(state, patches, joined, core=False)
    total = total.then(delta)
    state, delta = yield from _thin_steps(state)
    return state, total.then(delta)


def _thin_steps(state: OnlineCoreset) -> Generator[None, None, Learnt]:
    """Bring the rows under the budget, if there are more: r doubles while the core alone is larger, and other rows stay
    farthest first.
    """
    before = len(state.rows)
    if before <= state.budget:
        return state, Delta.none(before)
    core, sq_radius = doubled(state.rows, state.core, state.sq_admission, state.budget)
    kept = yield from refill_steps(state.rows, core, state.budget)
    return _only(replace(state, core=core, sq_admission=sq_radius), kept), Delta(kept, before, len(kept))


def without_rows(state: OnlineCoreset, gone: NDArray[np.bool_]) -> Learnt:
    """The state without the rows marked in `gone`, bool (M,); frames and radius stay."""
    kept = np.flatnonzero(~gone)
    if not len(kept):
        raise EngineError("no row would be left in the memory bank")
    return _only(state, kept), Delta(kept, len(gone), len(kept))


def _only(state: OnlineCoreset, kept: NDArray[np.int64]) -> OnlineCoreset:
    """The state with some of its rows, int64 ascending."""
    return replace(
        state,
        row_frame=state.row_frame[kept],
        row_patch=state.row_patch[kept],
        core=np.flatnonzero(np.isin(kept, state.core)),
        _growing=GrowingRows(state.rows[kept]),
        sq_norms=state.sq_norms[kept],
    )


def _take(state: OnlineCoreset, patches: Rows, joined: NDArray[np.int64], *, core: bool) -> Learnt:
    """Append patches `joined` of the newest frame as rows."""
    before, after = len(state.rows), len(state.rows) + len(joined)
    new = patches[joined]
    frame = np.full(len(new), len(state.frames) - 1, dtype=np.int32)
    state = replace(
        state,
        row_frame=np.concatenate([state.row_frame, frame]),
        row_patch=np.concatenate([state.row_patch, joined.astype(np.int32)]),
        core=np.concatenate([state.core, np.arange(before, after)]) if core else state.core,
        _growing=state._growing.with_more(new),
        sq_norms=np.concatenate([state.sq_norms, sq_norms(new)]),
    )
    return state, Delta(np.arange(before), before, after)
