"""The rows of a memory bank as they learn: what is known of them, how a fit leaves them, and how they are gone on from.

The rows of a fit lie in folds, so that a frame of one fold can be compared with the rows of the others
(`bank.calibration`); what is learned later is a fold of its own. Rows keep their distance within a fold only: two
folds may have chosen neighbours. Where there is one fold, learned rows are of it too.
"""

import math
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.rows import Delta, GrowingRows
from patchline.engine.coreset.thinning import cores
from patchline.engine.errors import EngineError
from patchline.engine.numerics.integer_distances import sq_norms
from patchline.engine.types import Doubles, Indices, Rows

Learnt: TypeAlias = tuple["OnlineCoreset", Delta]
"""The rows after, and how those before became them."""
DIMENSIONS = 2**21
"""Embeddings of fewer dimensions have squared distances below 2^53."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OnlineCoreset:
    """The rows of a memory bank and the state of their learning; never changed, each update makes another.

    `rows` is int16 (M, D); row i came from patch `row_patch[i]` of frame `row_frame[i]`, int32 (M,), an index into
    `frames`, which the fit's frames open. `row_fold`, int32 (M,), is the row's fold: one of the fit's, 0 to `folds` -
    1, or `folds` where it was learned; all 0 where `folds` is 1.

    `sq_admission` is r squared, `sq_first` what it was at first, `sq_fit` the squared covering radius of the fit over
    its own patches, all in the integers' units. At most `budget` rows are kept; `core`, int64 ascending, are those that
    prove the radius, r apart within each fold: all of them until rows are thinned. `thinned_at_first` says that
    rows nearer than the first r were let go: a projection chooses such. `sq_norms`, float64 (M,), are the rows'
    squared lengths.
    """

    row_frame: NDArray[np.int32]
    row_patch: NDArray[np.int32]
    row_fold: NDArray[np.int32]
    frames: tuple[str, ...]
    folds: int
    sq_admission: int
    sq_first: int
    sq_fit: int
    budget: int
    core: Indices
    thinned_at_first: bool = False
    _growing: GrowingRows = field(repr=False)
    sq_norms: Doubles = field(repr=False)

    @property
    def rows(self) -> Rows:
        """The rows' values."""
        return self._growing.values

    @property
    def learned_fold(self) -> int:
        """The fold of rows that join."""
        return self.folds if self.folds > 1 else 0

    @property
    def sq_proven(self) -> float:
        """Squared radius within which every patch seen is proven to lie of a row, in the integers' units.

        With j doublings the chain of rows that stood in for a patch is at most R + 2r + 4r + ... + 2^j r long, R the
        larger of the fit's covering radius and the first r; and r longer where rows were let go at the first r.
        """
        first = math.sqrt(self.sq_first)
        steps = math.sqrt(self.sq_admission) - first  # r + 2r + ... + 2^(j-1) r
        at_first = first if self.thinned_at_first else 0.0
        return (max(first, math.sqrt(self.sq_fit)) + at_first + 2 * steps) ** 2

    @property
    def thinned(self) -> bool:
        """Whether the row budget has ever been reached."""
        return self.sq_admission > self.sq_first or self.thinned_at_first

    @property
    def sq_apart(self) -> int:
        """Rows of the core that are of one fold lie farther apart than this, squared: the fit's may lie just r apart,
        and r is not yet enlarged for their sake.
        """
        return self.sq_admission - (self.sq_admission == self.sq_first)

    def only(self, kept: Indices) -> "OnlineCoreset":
        """The state with some of its rows, int64 ascending."""
        return replace(
            self,
            row_frame=self.row_frame[kept],
            row_patch=self.row_patch[kept],
            row_fold=self.row_fold[kept],
            core=np.flatnonzero(np.isin(kept, self.core)),
            _growing=GrowingRows(self.rows[kept]),
            sq_norms=self.sq_norms[kept],
        )

    def with_patches(self, patches: Rows, joined: Indices, core: NDArray[np.bool_]) -> Learnt:
        """Append patches `joined`, int64 (J,), of the newest frame as rows; `core`, bool (J,), says which join it."""
        before, after = len(self.rows), len(self.rows) + len(joined)
        new = patches[joined]
        numbers = np.arange(before, after)
        state = replace(
            self,
            row_frame=np.concatenate([self.row_frame, np.full(len(new), len(self.frames) - 1, dtype=np.int32)]),
            row_patch=np.concatenate([self.row_patch, joined.astype(np.int32)]),
            row_fold=np.concatenate([self.row_fold, np.full(len(new), self.learned_fold, dtype=np.int32)]),
            core=np.concatenate([self.core, numbers[core]]),
            _growing=self._growing.with_more(new),
            sq_norms=np.concatenate([self.sq_norms, sq_norms(new)]),
        )
        return state, Delta(np.arange(before), before, after)


def begin(
    rows: Rows,
    row_frame: NDArray[np.int32],
    row_patch: NDArray[np.int32],
    frames: tuple[str, ...],
    *,
    sq_covering: int,
    sq_spacing: int | None = None,
    row_fold: NDArray[np.int32] | None = None,
    folds: int = 1,
    admission: float = 1.0,
    budget: int,
) -> OnlineCoreset:
    """The state that a fit leaves: its greedy rows, and r a share of its covering radius.

    Args:
        rows: int16 (M, D), chosen by greedy k-center fold by fold, so no two of a fold lie nearer than its radius.
        row_frame, row_patch: int32 (M,), where they came from.
        frames: names of the fit's frames.
        sq_covering: the covering radius squared, in the integers' units.
        sq_spacing: the smallest fold's covering radius over its own patches, squared; the whole fit's where it is
            None. Of it r is a share, so that the rows of each fold are r apart.
        row_fold: int32 (M,), the fold of each row; all 0 where it is None.
        folds: of the fit.
        admission: r as a share of that radius, 0.5 to 1: a smaller share would void the guarantee of 8.
        budget: rows kept at most: M or more, and more than the folds, as each keeps a row.

    Raises:
        EngineError: an argument lies outside its range.
    """
    if not 0.5 <= admission <= 1:
        raise EngineError(f"admission is {admission:g}, expected 0.5 to 1 times the covering radius")
    if budget < len(rows):
        raise EngineError(f"the row budget is {budget}, expected at least the fit's {len(rows)} rows")
    if folds > 1 and budget <= folds:
        raise EngineError(
            f"the row budget is {budget}, expected at least {folds + 1}: a row for each fold, and one more"
        )
    if rows.shape[1] >= DIMENSIONS:
        raise EngineError(f"embeddings have {rows.shape[1]} dimensions, expected fewer than {DIMENSIONS}")
    sq_first = math.ceil((sq_covering if sq_spacing is None else sq_spacing) * admission**2)
    return resume(
        rows,
        row_frame,
        row_patch,
        frames,
        row_fold=row_fold,
        folds=folds,
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
    row_fold: NDArray[np.int32] | None = None,
    folds: int = 1,
    thinned_at_first: bool = False,
) -> OnlineCoreset:
    """A state as it was stored; see `OnlineCoreset` for what each is."""
    state = OnlineCoreset(
        row_frame=row_frame,
        row_patch=row_patch,
        row_fold=np.zeros(len(rows), dtype=np.int32) if row_fold is None else row_fold,
        frames=frames,
        folds=folds,
        sq_admission=sq_admission,
        sq_first=sq_first,
        sq_fit=sq_fit,
        budget=budget,
        core=np.arange(len(rows)),
        thinned_at_first=thinned_at_first,
        _growing=GrowingRows(rows),
        sq_norms=sq_norms(rows),
    )
    return replace(state, core=cores(rows, state.row_fold, state.sq_apart)) if state.thinned else state


def without_rows(state: OnlineCoreset, gone: NDArray[np.bool_]) -> Learnt:
    """The state without the rows marked in `gone`, bool (M,); frames and radius stay."""
    kept = np.flatnonzero(~gone)
    if not len(kept):
        raise EngineError("no row would be left in the memory bank")
    left = state.only(kept)
    if left.folds > 1 and left.thinned:  # what stood aside for a row that has left may be of the core now
        left = replace(left, core=cores(left.rows, left.row_fold, left.sq_apart))
    return left, Delta(kept, len(gone), len(kept))


def sq_integer(radius: float, scale: float) -> int:
    """The squared distance, in the integers' units, whose root times `scale` (a power of two) is `radius`."""
    return round((radius / scale) ** 2)
