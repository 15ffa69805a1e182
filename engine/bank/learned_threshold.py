"""The threshold of a bank that learns: from calibration frames, and good frames of the stream as first seen.

A confirmed frame never vouches for itself: its score is the one that it was rejected with, before it was learned.
Frames of the stream are a selected sample (those that passed, and those that someone looked at), so the rate is aimed
at, and no conformal promise is made.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.calibration import calibrate


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedThreshold:
    """A threshold and what it rests on: so many calibration frames, passed frames and confirmed frames."""

    value: float
    false_reject_rate: float
    calibration_frames: int
    passed_frames: int
    confirmed_frames: int

    @property
    def promise(self) -> str:
        """What the threshold may be said to do, in one sentence."""
        rests = f"{self.calibration_frames} held-out good frames"
        if not self.passed_frames + self.confirmed_frames:
            return (
                f"a good frame scores above {self.value:.6g} with probability at most {self.false_reject_rate:g}, "
                f"on average over calibrations; it rests on {rests}"
            )
        return (
            f"{self.value:.6g} aims to reject {self.false_reject_rate:g} of good frames and promises nothing: beside "
            f"{rests} it rests on {self.passed_frames} that passed and {self.confirmed_frames} confirmed as good"
        )


def learned_threshold(
    calibration: NDArray[np.float64],
    passed: NDArray[np.float64],
    confirmed: NDArray[np.float64],
    false_reject_rate: float,
) -> LearnedThreshold:
    """The threshold of one generation.

    Args:
        calibration: scores of held-out good frames by this generation, float64 (n,).
        passed: scores of recent frames that passed, as first seen.
        confirmed: scores of recent frames that were rejected and confirmed as good, as first seen.
        false_reject_rate: the share of good frames to reject, in (0, 1).

    Raises:
        CalibrationError: the frames at hand are too few for the rate.
    """
    pooled = np.concatenate([calibration, passed, confirmed])
    return LearnedThreshold(
        value=calibrate(pooled, false_reject_rate).threshold,
        false_reject_rate=false_reject_rate,
        calibration_frames=len(calibration),
        passed_frames=len(passed),
        confirmed_frames=len(confirmed),
    )
