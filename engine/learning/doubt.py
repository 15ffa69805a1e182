"""Doubt: whether a frame confirmed as good was a slip of the finger, as it is more like defects than like good parts.

A new kind of good lies farther from the bank than the good parts before it, a defect mostly farther still, and nearer
to other defects. So a frame's doubt is its score, times the root of how much farther its farthest patches lie from the
bank than from those of known defects. How much doubt is too much follows from the share of such slips that a recipe
wants held: as much as that share of its known defects have, each as if it were not known itself. A further defect,
drawn as they were, would be held with that probability or more, however doubts are distributed. What it costs in good
frames that wait no less is for the line to show: no statistic of these features tells the two apart well.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from patchline.engine.learning.reference_frames import ReferenceFrame
from patchline.engine.numerics.integer_distances import sq_to_nearest
from patchline.engine.types import Rows

FARTHEST = 10
"""Patches of a frame, the farthest from the bank, that are compared."""
DEFECTS_COMPARED = 50
"""Known defects that are looked at, the newest: so the cost is bounded."""


def reason_to_doubt(
    frame: ReferenceFrame, score: float, defects: Sequence[ReferenceFrame], scores: NDArray[np.float64], share: float
) -> str | None:
    """Why a frame that is said to be good looks like a slip, in plain words, or None.

    Args:
        frame: in step with the rows, which do not know it.
        score: its anomaly score.
        defects: known defects, one or more, in step with the same rows, the newest last.
        scores: theirs, float64 (n,).
        share: of slips that are to be held, above 0 and below 1.
    """
    parts = [_farthest(defect) for defect in defects[-DEFECTS_COMPARED:]]
    patches = [part for part, _ in parts]
    doubt = _doubt(_farthest(frame), score, patches)
    of_defects = np.array(
        [
            _doubt(part, value, patches[:i] + patches[i + 1 :])
            for i, (part, value) in enumerate(zip(parts, scores[-DEFECTS_COMPARED:].tolist(), strict=True))
        ]
    )
    if doubt < cut_off(of_defects, share):
        return None
    count = int((of_defects <= doubt).sum())
    return f"it looks less like the good parts known so far than {count} of {len(parts)} known defects do"


def cut_off(of_defects: NDArray[np.float64], share: float) -> float:
    """The doubt from which on a frame is held, by those of known defects, float64 (n,), one or more.

    Of n + 1 exchangeable values the last reaches the k-th largest of the others with probability k / (n + 1), which is
    `share` or more; where n are too few to say so, all that reaches any of them is held.
    """
    n = len(of_defects)
    return float(np.sort(of_defects)[-min(n, ceil(share * (n + 1)))])


def _farthest(frame: ReferenceFrame) -> tuple[Rows, float]:
    """A frame's patches farthest from the bank, int16 (k, D), and the sum of their distances in integers' units."""
    chosen = np.argsort(-frame.sq, kind="stable")[:FARTHEST]
    return frame.patches[chosen], float(np.sqrt(frame.sq[chosen]).sum())


def _doubt(part: tuple[Rows, float], score: float, defects: Sequence[Rows]) -> float:
    """A frame's doubt, by its farthest patches, its score, and the farthest patches of known defects other than it."""
    patches, from_bank = part
    if not defects or score == 0:
        return score
    from_defects = float(np.sqrt(sq_to_nearest(patches, np.concatenate(defects))[0]).sum())
    return score * float(np.sqrt(from_bank / from_defects)) if from_defects else float("inf")
