"""A slip of the finger: a frame confirmed as good that resembles known defects more than the good parts known so far.

A new kind of good lies farther from the bank than the good parts before it, a defect mostly farther still, and nearer
to other defects. So a frame's doubt is its score, times the root of how much farther its farthest patches lie from the
bank than from those of known defects. How much doubt is too much is for each recipe to say: each known defect's doubt
is found in the same way, as if it were not known itself, and what reaches that of a given share of them waits. Were
a further defect drawn as they were, it would be held with about that probability, however doubts are distributed.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from engine.exact_distances import sq_to_nearest
from engine.quantise import Rows
from engine.reference_frames import ReferenceFrame

SHARE = 0.5
"""Share of defects like the known ones that is held."""
FARTHEST = 10
"""Patches of a frame, the farthest from the bank, that are compared."""
AT_MOST = 50
"""Known defects that are looked at, the newest: so the cost is bounded."""


def reason_to_doubt(
    frame: ReferenceFrame, score: float, defects: Sequence[ReferenceFrame], scores: NDArray[np.float64]
) -> str | None:
    """Why a frame that is said to be good looks like a slip, in plain words, or None.

    Args:
        frame: in step with the rows, which do not know it.
        score: its anomaly score.
        defects: the known ones, in step with the same rows, the newest last.
        scores: theirs, float64 (n,).
    """
    if not defects:
        return None
    defects, scores = defects[-AT_MOST:], scores[-AT_MOST:]
    parts = [_farthest(defect) for defect in defects]
    found = _doubt(_farthest(frame), score, [patches for patches, _ in parts])
    known = np.array(
        [
            _doubt(parts[i], float(scores[i]), [patches for j, (patches, _) in enumerate(parts) if j != i])
            for i in range(len(parts))
        ]
    )
    if found < cut_off(known):
        return None
    count = int((known <= found).sum())
    return f"it looks less like the good parts known so far than {count} of {len(known)} known defects do"


def cut_off(known: NDArray[np.float64]) -> float:
    """The doubt from which on a frame is held, by those of the known defects, float64 (n,), one or more.

    Of n + 1 exchangeable values the last reaches the k-th largest of the others with probability k / (n + 1) or more.
    """
    largest = ceil(SHARE * (len(known) + 1))
    return float(np.sort(known)[-largest])


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
