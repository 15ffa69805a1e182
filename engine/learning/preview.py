"""What an update would do, known before it is done: rows, threshold, rejects cleared, known defects hidden."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.calibration import score_ratio
from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.learning.reference_frames import Kind, ReferenceFrames, kept_rows

Scores: TypeAlias = Callable[[ReferenceFrames], NDArray[np.float64]]
"""Scores of reference frames, float64 (F,), in their order."""
ThresholdOf: TypeAlias = Callable[[NDArray[np.float64]], float]
"""The threshold that goes with the calibration frames' scores, float64 (n,)."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Preview:
    """An update that has not been taken: the rows and reference frames after it, and what it changes.

    `calibration_scores` is float64 (n,), in the frames' order. `cleared` are recent rejects that would pass; `hidden`
    are known defects that are rejected now and would pass; `caught` those that pass now and would be rejected, and
    `missed` all that would pass. `defect_ratios` has the score of each known defect after it, over the threshold
    after it: above 1 it would be rejected; None where no number says it.
    """

    state: OnlineCoreset
    references: ReferenceFrames
    calibration_scores: NDArray[np.float64]
    rows_added: int
    rows_removed: int
    threshold_before: float
    threshold_after: float
    cleared: tuple[str, ...]
    rejects: int
    hidden: tuple[str, ...]
    defects: int
    defect_ratios: dict[str, float | None]
    caught: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()

    @property
    def hold(self) -> str | None:
        """Why the update should wait for a second person, or None."""
        if not self.hidden:
            return None
        return f"it would hide {len(self.hidden)} of {self.defects} known defects: {', '.join(self.hidden)}"

    def __str__(self) -> str:
        return (
            f"adds {self.rows_added} rows and removes {self.rows_removed}; "
            f"threshold {self.threshold_before:.6g} -> {self.threshold_after:.6g}; "
            f"clears {len(self.cleared)} of the last {self.rejects} rejects, "
            f"hides {len(self.hidden)} of {self.defects} known defects"
            + (f" and catches {len(self.caught)} that pass now" if self.caught else "")
        )


def preview_steps(
    references: ReferenceFrames,
    state: OnlineCoreset,
    frame: str,
    *,
    scores: Scores,
    threshold_of: ThresholdOf,
    threshold_before: float | None = None,
) -> Generator[None, None, Preview]:
    """Compare the rows as they are with another state of them, in slices.

    Args:
        references: in step with the rows as they are.
        state: the rows that would be.
        frame: the frame that the change is about; it is not among the rejects that the change may be said to clear.
        scores: how reference frames are scored.
        threshold_of: how a generation's threshold follows from the scores of its calibration frames.
        threshold_before: the threshold as it is, where `threshold_of` gives only what would be.

    Returns:
        What would change; taking the update is keeping the preview's `state` and `references`.
    """
    after = yield from references.follow_steps(state)
    yield
    was, will = scores(references), scores(after)
    yield
    calibration = np.array([reference.kind == "calibration" for reference in references.frames], dtype=bool)
    before = threshold_of(was[calibration]) if threshold_before is None else threshold_before
    threshold_after = threshold_of(will[calibration])
    rejected, passing = was > before, will <= threshold_after

    def names(kind: Kind, which: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(
            reference.name
            for reference, chosen in zip(references.frames, which, strict=True)
            if chosen and reference.kind == kind and reference.name != frame
        )

    kept = int((kept_rows(references.state, state) >= 0).sum())
    return Preview(
        state=state,
        references=after,
        calibration_scores=will[calibration],
        rows_added=len(state.rows) - kept,
        rows_removed=len(references.state.rows) - kept,
        threshold_before=before,
        threshold_after=threshold_after,
        cleared=names("reject", rejected & passing),
        rejects=sum(reference.name != frame for reference in references.of("reject")),
        hidden=names("defect", rejected & passing),
        defects=len(references.of("defect")),
        caught=names("defect", ~rejected & ~passing),
        missed=names("defect", passing),
        defect_ratios={
            reference.name: score_ratio(float(score), threshold_after)
            for reference, score in zip(references.frames, will, strict=True)
            if reference.kind == "defect"
        },
    )
