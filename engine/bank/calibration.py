"""The threshold: a split-conformal quantile of held-out good frames' scores.

With n exchangeable good frames held out of the fit, rejecting what scores above the k-th smallest of their scores,
k = ceil((n + 1)(1 - alpha)), rejects a new good frame with probability at most alpha (Vovk et al.; Lei et al. 2018).
k exceeds n where alpha < 1 / (n + 1): no finite threshold keeps such a promise.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from patchline.engine.errors import CalibrationError
from patchline.engine.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A threshold and the held-out good frames that it rests on.

    `scores` is float64 (n,), ascending; `threshold` is one of them.
    """

    false_reject_rate: float
    scores: NDArray[np.float64]
    threshold: float

    @property
    def frames(self) -> int:
        """How many held-out good frames the threshold rests on."""
        return len(self.scores)

    @property
    def promise(self) -> str:
        """What the threshold promises, in one sentence."""
        return (
            f"a good frame scores above {self.threshold:.6g} with probability at most {self.false_reject_rate:g}, "
            f"on average over calibrations; it rests on {self.frames} held-out good frames"
        )


def calibrate(scores: NDArray[np.float64], false_reject_rate: float) -> Calibration:
    """The split-conformal threshold for a false-reject rate.

    Args:
        scores: float64 (n,), anomaly scores of good frames that are not in the bank, in any order.
        false_reject_rate: alpha, the share of good frames that may be rejected, in (0, 1).

    Raises:
        CalibrationError: n frames cannot promise alpha; the message names the rate that they can.
    """
    check_promise(len(scores), false_reject_rate)
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if not np.isfinite(ordered).all():
        raise CalibrationError("the scores of held-out good frames must be finite")
    k = ceil((len(ordered) + 1) * (1 - _exact(false_reject_rate)))
    return Calibration(false_reject_rate=false_reject_rate, scores=ordered, threshold=float(ordered[max(k, 1) - 1]))


def check_promise(frames: int, false_reject_rate: float) -> None:
    """Raise CalibrationError unless `frames` held-out good frames can promise the rate."""
    if not 0 < false_reject_rate < 1:
        raise CalibrationError(f"false_reject_rate must lie between 0 and 1, got {false_reject_rate:g}")
    if frames < 1:
        raise CalibrationError("no good frames were held out: a threshold needs at least one")
    if _exact(false_reject_rate) * (frames + 1) < 1:
        raise CalibrationError(
            f"a false-reject rate of {false_reject_rate:g} cannot be promised with {frames} held-out good frames: "
            f"they can promise {_round_up(Fraction(1, frames + 1)):g} or more, "
            f"and {false_reject_rate:g} needs {frames_needed(false_reject_rate)}"
        )


def frames_needed(false_reject_rate: float) -> int:
    """The fewest held-out good frames that can promise the rate: ceil(1 / alpha) - 1."""
    return max(1, ceil(1 / _exact(false_reject_rate)) - 1)


def _exact(rate: float) -> Fraction:
    # The decimal that the user wrote: 0.05 is 1/20, while the float 0.05 is a little more.
    return Fraction(repr(float(rate)))


def _round_up(rate: Fraction) -> float:
    """`rate` in four decimals, or three significant digits where it is smaller, never below it."""
    digits = 4 if rate > Fraction(1, 100) else 6
    return float(ceil(rate * 10**digits) / 10**digits)


AT_LEAST = 0.2


AT_MOST = 0.5
"""Share of the good images that `fit` may hold out by itself."""


def draw_held_out(total: int, recipe: Recipe) -> frozenset[int]:
    """Positions, 0 to `total` - 1, of the good images to hold out, drawn by the recipe's seed.

    Known before any image is read: as many as the false-reject rate needs, at least a fifth, at most half.

    Raises:
        CalibrationError: the rate needs more than half of the images.
    """
    most = int(total * AT_MOST)
    needed = frames_needed(recipe.false_reject_rate)
    if needed > most:
        can = f"at most {most} of {total} good images are held out for calibration; "
        try:
            check_promise(most, recipe.false_reject_rate)
        except CalibrationError as error:
            raise CalibrationError(f"recipe {recipe.name!r}: {can}{error}") from None
    count = max(needed, round(total * AT_LEAST))
    return frozenset(np.random.default_rng(recipe.seed).permutation(total)[:count].tolist())


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
