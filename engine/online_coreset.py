"""The coreset as it learns: online greedy admission, and doubling where the row budget is reached.

A confirmed frame's patches join, farthest first, while one lies farther from the bank than the admission radius r. Rows
are then more than r apart, and every patch seen lies within r of a row. Where a row more than the budget k would be
kept, r doubles and the rows are thinned: in their order, a row stays only if it lies farther than the new r from all
that stay (the doubling algorithm of Charikar, Chekuri, Feder and Motwani, 1997; McCutchen and Khuller, 2008).

Two of the k + 1 rows that forced a doubling from r to 2r share a centre of any k, so the best radius possible is r / 2
or more; and what has been let go by then lies within 2r + r + r/2 + ... <= 4r of a row. Hence the guarantee, once the
budget has been reached: every patch lies within 8 times the best radius possible for k rows.

Vectors are 16-bit integers with one scale a recipe, so squared distances are integers that float64 holds exactly in any
order of summation (D * 2^32 < 2^53): the same frames in the same order give the same rows on any machine.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError
from engine.exact_distances import apart, sq_below, sq_norms, sq_pairs, sq_to_nearest
from engine.products import product
from engine.quantise import Rows

TOGETHER = 1024
"""Patches that may join whose products are made all at once, in 8 MiB."""
DIMENSIONS = 2**21
"""Embeddings of fewer dimensions have squared distances below 2^53."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OnlineCoreset:
    """The rows of a memory bank and the state of their learning; never changed, each update makes another.

    `rows` is int16 (M, D); row i came from patch `row_patch[i]` of frame `row_frame[i]`, int32 (M,), an index into
    `frames`, which the fit's frames open. `sq_admission` is r squared, `sq_first` what it was at first, `sq_fit` the
    squared covering radius of the fit over its own patches, all in the integers' units. At most `budget` rows are kept.
    """

    rows: Rows
    row_frame: NDArray[np.int32]
    row_patch: NDArray[np.int32]
    frames: tuple[str, ...]
    sq_admission: int
    sq_first: int
    sq_fit: int
    budget: int
    _norms: NDArray[np.float64] = field(repr=False)

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


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """How one state of the rows became the next: `kept` are the former row numbers that stay, in order, int64 (K,);
    rows from number K on are new.
    """

    kept: NDArray[np.int64]
    before: int
    after: int

    @property
    def added(self) -> int:
        """Rows that joined."""
        return self.after - len(self.kept)

    @property
    def removed(self) -> int:
        """Rows that left."""
        return self.before - len(self.kept)

    def then(self, later: "Delta") -> "Delta":
        """This change followed by a later one, as one."""
        positions = later.kept[later.kept < len(self.kept)]
        return Delta(self.kept[positions], self.before, later.after)


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
    return OnlineCoreset(
        rows=rows,
        row_frame=row_frame,
        row_patch=row_patch,
        frames=frames,
        sq_admission=sq_first,
        sq_first=sq_first,
        sq_fit=sq_covering,
        budget=budget,
        _norms=sq_norms(rows),
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
    return OnlineCoreset(
        rows=rows,
        row_frame=row_frame,
        row_patch=row_patch,
        frames=frames,
        sq_admission=sq_admission,
        sq_first=sq_first,
        sq_fit=sq_fit,
        budget=budget,
        _norms=sq_norms(rows),
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
) -> tuple[OnlineCoreset, Delta]:
    """Let a confirmed frame's patches join.

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
    unchanged = Delta(np.arange(len(state.rows)), len(state.rows), len(state.rows))
    if frame in state.frames:
        return state, unchanged
    if patches.dtype != np.int16 or patches.ndim != 2 or patches.shape[1] != state.rows.shape[1]:
        expected = f"expected int16 (P, {state.rows.shape[1]})"
        raise EngineError(f"patches of frame {frame!r}: found {patches.dtype} {patches.shape}, {expected}")
    may_join = np.ones(len(patches), dtype=bool) if living is None else living
    if nearest is not None:
        bound = sq_pairs(patches, state.rows[np.clip(nearest, 0, len(state.rows) - 1)])
        far = np.flatnonzero(may_join & (bound > state.sq_admission))
        sq = sq_below(bound[far], patches[far], state.rows, state._norms)
    else:
        far = np.flatnonzero(may_join)
        sq = sq_to_nearest(patches[far], state.rows, state._norms)[0]
    # What lies within r at first never joins, whichever row says so.
    far, sq = far[sq > state.sq_admission], sq[sq > state.sq_admission]
    candidates = patches[far]
    norms = sq_norms(candidates)
    values = candidates.astype(np.float64)
    products = product(values, values.T) if len(values) <= TOGETHER else None
    total = unchanged
    joined: list[int] = []
    while len(sq) and sq.max() > state.sq_admission:
        best = int(sq.argmax())  # the lowest patch among equals
        joined.append(best)
        if len(state.rows) + len(joined) > state.budget:
            state, delta = _take(state, frame, patches, far[joined])
            total = total.then(delta)
            joined = []
            state, delta = thin(state)
            total = total.then(delta)
            sq = sq_to_nearest(candidates, state.rows, state._norms)[0]
        else:
            sums = product(values, values[best, :, None])[:, 0] if products is None else products[best]
            np.minimum(sq, norms + norms[best] - 2 * sums, out=sq)
    state, delta = _take(state, frame, patches, far[joined])
    return state, total.then(delta)


def thin(state: OnlineCoreset) -> tuple[OnlineCoreset, Delta]:
    """Double r, and again while more than the budget's rows lie farther than r apart."""
    before = len(state.rows)
    kept = np.arange(before)
    sq_radius = state.sq_admission
    while len(kept) > state.budget:
        sq_radius = max(4 * sq_radius, 1)
        kept = kept[apart(state.rows[kept], sq_radius)]
    state = replace(
        state,
        rows=state.rows[kept],
        row_frame=state.row_frame[kept],
        row_patch=state.row_patch[kept],
        sq_admission=sq_radius,
        _norms=state._norms[kept],
    )
    return state, Delta(kept, before, len(kept))


def without_rows(state: OnlineCoreset, gone: NDArray[np.bool_]) -> tuple[OnlineCoreset, Delta]:
    """The state without the rows marked in `gone`, bool (M,); frames and radius stay."""
    kept = np.flatnonzero(~gone)
    if not len(kept):
        raise EngineError("no row would be left in the memory bank")
    state = replace(
        state,
        rows=state.rows[kept],
        row_frame=state.row_frame[kept],
        row_patch=state.row_patch[kept],
        _norms=state._norms[kept],
    )
    return state, Delta(kept, len(gone), len(kept))


def _take(state: OnlineCoreset, frame: str, patches: Rows, joined: NDArray[np.int64]) -> tuple[OnlineCoreset, Delta]:
    """Append patches `joined` of a frame as rows; the frame is named from then on, even if it gave none."""
    before = len(state.rows)
    frames = state.frames if frame in state.frames else (*state.frames, frame)
    new = patches[joined]
    state = replace(
        state,
        frames=frames,
        rows=np.concatenate([state.rows, new]),
        row_frame=np.concatenate([state.row_frame, np.full(len(new), frames.index(frame), dtype=np.int32)]),
        row_patch=np.concatenate([state.row_patch, joined.astype(np.int32)]),
        _norms=np.concatenate([state._norms, sq_norms(new)]),
    )
    return state, Delta(np.arange(before), before, len(state.rows))
