"""A slip of the finger: a frame confirmed as good that resembles known defects more than the good parts known so far.

A new kind of good lies farther from the bank than the good parts before it, a defect mostly farther still, and nearer
to other defects. So a frame's doubt is its score, times the root of how much farther its farthest patches lie from the
bank than from those of known defects. How much doubt is too much is for each recipe to say, by frames that are no part
of what they are compared with: as much as a given share of its known defects have, each as if it were not known itself,
and more than all but a few of its calibration frames have. Were a further frame drawn as they were, it would be held
with about that probability, however doubts are distributed.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from engine.exact_distances import sq_to_nearest
from engine.quantise import Rows
from engine.reference_frames import ReferenceFrame

SHARE = 0.4
"""Share of defects like the known ones that is held, where that takes no more than `GOOD` of good frames."""
GOOD = 0.1
"""Share of good frames like those of the calibration that may be held."""
FARTHEST = 10
"""Patches of a frame, the farthest from the bank, that are compared."""
AT_MOST = 50
"""Known defects and calibration frames that are looked at, the newest of each: so the cost is bounded."""


def reason_to_doubt(
    frame: ReferenceFrame, score: float, known: Sequence[ReferenceFrame], scores: NDArray[np.float64]
) -> str | None:
    """Why a frame that is said to be good looks like a slip, in plain words, or None.

    Args:
        frame: in step with the rows, which do not know it.
        score: its anomaly score.
        known: known defects and calibration frames, in step with the same rows, the newest of each last.
        scores: theirs, float64 (n,).
    """
    scored = list(zip(known, scores.tolist(), strict=True))
    defects = [(_farthest(other), value) for other, value in scored if other.kind == "defect"][-AT_MOST:]
    if not defects:
        return None
    good = [(_farthest(other), value) for other, value in scored if other.kind == "calibration"][-AT_MOST:]
    patches = [part[0] for part, _ in defects]
    found = _doubt(_farthest(frame), score, patches)
    of_defects = np.array(
        [_doubt(part, value, patches[:i] + patches[i + 1 :]) for i, (part, value) in enumerate(defects)]
    )
    of_good = np.array([_doubt(part, value, patches) for part, value in good])
    if found < cut_off(of_defects, of_good):
        return None
    count = int((of_defects <= found).sum())
    return f"it looks less like the good parts known so far than {count} of {len(defects)} known defects do"


def cut_off(of_defects: NDArray[np.float64], of_good: NDArray[np.float64]) -> float:
    """The doubt from which on a frame is held, by those of known defects, one or more, and of calibration frames.

    Of n + 1 exchangeable values the last reaches the k-th largest of the others with probability k / (n + 1): that is
    `SHARE` or more for defects, and `GOOD` or less for good frames where there are frames enough to say so.
    """
    cut = np.sort(of_defects)[-ceil(SHARE * (len(of_defects) + 1))]
    if len(of_good):
        cut = max(cut, np.sort(of_good)[-max(1, int(GOOD * (len(of_good) + 1)))])
    return float(cut)


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
