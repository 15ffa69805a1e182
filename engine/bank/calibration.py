"""The threshold of a memory bank: which good images it rests on, how it follows from their scores, what it promises.

It is a split-conformal quantile (Vovk et al.; Lei et al. 2018). `fit` holds n good images out. With n exchangeable good
frames, rejecting what scores above the k-th smallest of their scores, k = ceil((n + 1)(1 - alpha)), rejects a new good
frame with probability at most alpha. Where alpha < 1 / (n + 1), k exceeds n and no finite threshold keeps such a
promise.

A bank that learns may also rest its threshold on frames of the stream. Those are a selected sample, so that threshold
aims at the rate and promises nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray

from patchline.engine.errors import CalibrationError
from patchline.engine.recipe import Recipe

LEAST_HELD_OUT, MOST_HELD_OUT = 0.2, 0.5
"""Share of the good images that `fit` may hold out by itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A threshold and the held-out good frames that it rests on.

    `scores` is float64 (n,), ascending; `threshold` is one of them, unless frames of the stream were added.
    """

    false_reject_rate: float
    scores: NDArray[np.float64]
    threshold: float

    @property
    def frames(self) -> int:
        """How many held-out good frames the threshold rests on."""
        return len(self.scores)

    def promise(self, follows_stream: bool = False) -> str:
        """What the threshold promises, in one sentence.

        Args:
            follows_stream: whether it rests on good frames of the stream too.
        """
        if follows_stream:
            return (
                f"{self.threshold:.6g} aims to reject {self.false_reject_rate:g} of good frames and promises "
                f"nothing: beside {self.frames} held-out good frames it rests on those of the stream"
            )
        return (
            f"a good frame scores above {self.threshold:.6g} with probability at most {self.false_reject_rate:g}, "
            f"on average over calibrations; it rests on {self.frames} held-out good frames"
        )


def draw_held_out(groups: Sequence[int], recipe: Recipe) -> tuple[frozenset[int], frozenset[int]]:
    """Draw the good images to hold out by the recipe's seed, one of a group, before any image is read.

    As many are drawn as the false-reject rate needs: of a fifth of the groups at least, of half of them at most.

    Args:
        groups: of each image, by its position: images of one group are copies, or views of one part.
        recipe: how they are inspected.

    Returns:
        Positions of the images held out, and those of the others of their groups, which are neither held out nor
        fitted: the bank would know the one by the other, and several copies would weigh as many good frames.

    Raises:
        CalibrationError: the rate needs more than half of the groups.
    """
    first: dict[int, int] = {}
    for position, group in enumerate(groups):
        first.setdefault(group, position)
    most = int(len(first) * MOST_HELD_OUT)
    needed = frames_needed(recipe.false_reject_rate)
    if needed > most:
        try:
            check_promise(most, recipe.false_reject_rate)
        except CalibrationError as error:
            images = f"{len(groups)} good images"
            of = images if len(first) == len(groups) else f"{len(first)} groups of {images}, one image each,"
            limit = f"at most {most} of {of} are held out for calibration"
            raise CalibrationError(f"recipe {recipe.name!r}: {limit}; {error}") from None
    count = max(needed, round(len(first) * LEAST_HELD_OUT))
    drawn = np.random.default_rng(recipe.seed).permutation(list(first))[:count].tolist()
    held_out = frozenset(first[group] for group in drawn)
    together = set(drawn)
    aside = frozenset(n for n, group in enumerate(groups) if group in together and n not in held_out)
    return held_out, aside


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


def calibrate_with_stream(
    scores: NDArray[np.float64],
    passed: NDArray[np.float64],
    confirmed: NDArray[np.float64],
    false_reject_rate: float,
) -> Calibration:
    """The threshold that also rests on good frames of the stream, each as it was scored when first seen.

    Args:
        scores: float64 (n,), scores of held-out good frames by this generation.
        passed: float64 (p,), of recent frames that passed.
        confirmed: float64 (c,), of frames that were rejected and confirmed as good.
        false_reject_rate: the share of good frames to reject, in (0, 1).

    Raises:
        CalibrationError: all frames together are too few for the rate.
    """
    pooled = calibrate(np.concatenate([scores, passed, confirmed]), false_reject_rate)
    return Calibration(false_reject_rate=false_reject_rate, scores=np.sort(scores), threshold=pooled.threshold)


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
    """`rate` in four decimals, or six where it is at most 0.01, never below it."""
    digits = 4 if rate > Fraction(1, 100) else 6
    return float(ceil(rate * 10**digits) / 10**digits)
