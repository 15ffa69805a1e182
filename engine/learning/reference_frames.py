"""Frames whose scores follow the bank: calibration frames, known defects, recent rejects.

Each keeps its patch embeddings, every patch's squared distance to its nearest row, and that row. Where rows join,
distances only fall; patches whose nearest row has left are searched again; then Eq. 6-7 is recomputed. So what an
update would do to all of them is known exactly before it is taken, without scoring a frame anew. A calibration frame
that is of the fit passes over the rows of its own fold, whatever happens: to it they are not there.

Everything rests on stored 16-bit integers: distances are exact integers, the same on any machine. float32 products only
rule out what their error bound allows. `inspection.stored_scores` makes scores of them.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.errors import EngineError
from patchline.engine.inspection.stored_scores import stored_scores
from patchline.engine.numerics.integer_distances import ScreenedRows, sq_integer_pairs, sq_norms, sq_to_nearest
from patchline.engine.numerics.steps import finish
from patchline.engine.types import Rows

Kind: TypeAlias = Literal["calibration", "defect", "reject"]
SLICE_FRAMES = 4
"""Frames that follow at a time, where others wait meanwhile."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReferenceFrame:
    """One frame: int16 patches (P, D), and exact squared distances (P,) to the nearest rows (P,), in integers' units.

    `sq_norms` is float64 (P,). Ties go to the lowest row. Rows of `fold` are passed over; None: all rows count.
    """

    name: str
    kind: Kind
    patches: Rows
    sq: NDArray[np.float64]
    nearest: NDArray[np.int64]
    sq_norms: NDArray[np.float64]
    fold: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceFrames:
    """Reference frames in step with one state of the rows; never changed, each step makes another."""

    state: OnlineCoreset
    frames: tuple[ReferenceFrame, ...] = ()

    def of(self, kind: Kind) -> tuple[ReferenceFrame, ...]:
        """The frames of one kind, in the order in which they were taken."""
        return tuple(frame for frame in self.frames if frame.kind == kind)

    def with_frame(self, name: str, kind: Kind, patches: Rows, fold: int | None = None) -> "ReferenceFrames":
        """One more frame; a frame of that name and kind is replaced.

        Args:
            name: the frame's.
            kind: what it is a reference for.
            patches: int16 (P, D), its embeddings.
            fold: whose rows it passes over; None: of no fold.

        Raises:
            EngineError: the patches are not int16 (P, D) as the rows are, or no row is left to compare them with.
        """
        dimensions = self.state.rows.shape[1]
        if patches.dtype != np.int16 or patches.ndim != 2 or patches.shape[1] != dimensions or not len(patches):
            shape = f"{patches.dtype} {patches.shape}"
            raise EngineError(f"patches of frame {name!r}: found {shape}, expected int16 (P, {dimensions})")
        sq, nearest = _to_nearest(name, patches, self.state, fold)
        frame = ReferenceFrame(
            name=name, kind=kind, patches=patches, sq=sq, nearest=nearest, sq_norms=sq_norms(patches), fold=fold
        )
        return replace(self, frames=(*self.without_frame(name, kind).frames, frame))

    def without_frame(self, name: str, kind: Kind | None = None) -> "ReferenceFrames":
        """Without the frame of that name, of one kind or of any."""
        stay = tuple(frame for frame in self.frames if frame.name != name or (kind is not None and frame.kind != kind))
        return replace(self, frames=stay)

    def follow(self, after: OnlineCoreset) -> "ReferenceFrames":
        """The same frames, in step with another state: rows added, thinned, aged, unlearned or rolled back."""
        return finish(self.follow_steps(after))

    def follow_steps(self, after: OnlineCoreset) -> Generator[None, None, "ReferenceFrames"]:
        """`follow`, in slices."""
        position = kept_rows(self.state, after)
        kept = position >= 0
        new = np.ones(len(after.rows), dtype=bool)
        new[position[kept]] = False
        joined = np.flatnonzero(new)
        joining = set(after.row_fold[joined].tolist())
        rows: dict[int | None, _Rows] = {}
        frames = []
        for frame in self.frames:
            fold = frame.fold if frame.fold in joining else None
            if fold not in rows:
                rows[fold] = _Rows(after, joined if fold is None else joined[after.row_fold[joined] != fold])
            frames.append(_follow(frame, position, rows[fold], after))
            if len(frames) % SLICE_FRAMES == 0:
                yield
        return ReferenceFrames(after, tuple(frames))

    def scores(self, scale: float, neighbours: int, score_patches: int = 1) -> NDArray[np.float64]:
        """Anomaly scores, float64 (F,), in the frames' order.

        Args:
            scale: of the stored values.
            neighbours: b of Eq. 7.
            score_patches: 1: by Eq. 6-7; more: the mean distance of so many farthest patches.
        """
        state = self.state
        return stored_scores(self.frames, state.rows, state.row_fold, scale, neighbours, score_patches)


def kept_rows(before: OnlineCoreset, after: OnlineCoreset) -> NDArray[np.int64]:
    """The new number of each former row that stays, -1 where it does not: int64 (M,), ascending where not -1.

    A row is known by its frame and patch. One that has moved ahead of another counts as gone and new, so that ties
    still go to the lowest row.
    """
    shared = min(len(before.rows), len(after.rows))
    names_before, names_after = np.array(before.frames), np.array(after.frames)
    same = (before.row_patch[:shared] == after.row_patch[:shared]) & (
        names_before[before.row_frame[:shared]] == names_after[after.row_frame[:shared]]
    )
    prefix = shared if same.all() else int(same.argmin())
    position = np.full(len(before.rows), -1, dtype=np.int64)
    position[:prefix] = np.arange(prefix)
    if prefix < len(before.rows):
        where = {
            (after.frames[frame], int(patch)): prefix + i
            for i, (frame, patch) in enumerate(zip(after.row_frame[prefix:], after.row_patch[prefix:], strict=True))
        }
        last = prefix - 1
        for i in range(prefix, len(before.rows)):
            number = where.get((before.frames[before.row_frame[i]], int(before.row_patch[i])), -1)
            if number > last:
                position[i] = last = number
    return position


class _Rows:
    """Rows that join a bank, `numbers` there.

    A row that joins at distance d from a patch's nearest row m can be as near to the patch only if the patch lies d / 2
    or more from m: `sq_reach`, float64 (M,), is at most the square of that for the nearest of those that join.
    """

    def __init__(self, after: OnlineCoreset, numbers: NDArray[np.int64]) -> None:
        self.rows = after.rows[numbers]
        self.numbers = numbers
        self.screened = ScreenedRows(self.rows, after.sq_norms[numbers]) if len(numbers) else None
        self.sq_reach = np.full(len(after.rows), np.inf)
        if self.screened is not None:
            self.sq_reach = self.screened.sq_at_least(after.rows, after.sq_norms) / 4


def _to_nearest(
    name: str, patches: Rows, state: OnlineCoreset, fold: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """`sq_to_nearest` over the rows that are not of a fold: those of it lie nowhere."""
    norms = state.sq_norms if fold is None else np.where(state.row_fold == fold, np.inf, state.sq_norms)
    sq, nearest = sq_to_nearest(patches, state.rows, norms)
    if nearest.min() < 0:
        raise EngineError(f"frame {name!r}: no row is left but those of its own fold, {fold}")
    return sq, nearest


def _follow(frame: ReferenceFrame, position: NDArray[np.int64], new: _Rows, after: OnlineCoreset) -> ReferenceFrame:
    sq, nearest = frame.sq.copy(), position[frame.nearest]
    lost = np.flatnonzero(nearest < 0)
    if len(lost):
        sq[lost], nearest[lost] = _to_nearest(frame.name, frame.patches[lost], after, frame.fold)
    if new.screened is not None:
        _lower(frame, new, new.screened, sq, nearest)
    return replace(frame, sq=sq, nearest=nearest)


def _lower(
    frame: ReferenceFrame, new: _Rows, screened: ScreenedRows, sq: NDArray[np.float64], nearest: NDArray[np.int64]
) -> None:
    """Lower `sq` and `nearest`, (P,), in place where a new row is nearer, or as near and lower."""
    reached = np.flatnonzero(sq >= new.sq_reach[nearest])
    patch_of, row_of = screened.pairs_within(sq[reached], frame.patches[reached], frame.sq_norms[reached])
    if not len(patch_of):
        return
    patch_of = reached[patch_of]
    sq_new, number = sq_integer_pairs(frame.patches[patch_of], new.rows[row_of]), new.numbers[row_of]
    order = np.lexsort((number, sq_new, patch_of))
    patches, first = np.unique(patch_of[order], return_index=True)  # of each patch its nearest, the lowest of equals
    sq_new, number = sq_new[order][first], number[order][first]
    better = (sq_new < sq[patches]) | ((sq_new == sq[patches]) & (number < nearest[patches]))
    sq[patches[better]] = sq_new[better]
    nearest[patches[better]] = number[better]
