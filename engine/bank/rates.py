"""Which false-reject rates so many good frames can aim at, in exact fractions.

The threshold is the k-th smallest of n scores, k = ceil((n + 1)(1 - a)) (`bank.calibration`). No k is left where
a < 1 / (n + 1): n frames cannot aim lower. Copies of one image count as one frame: n is then the number of groups.
"""

from fractions import Fraction
from math import ceil

from patchline.engine.errors import CalibrationError


def check_rate(groups: int, false_reject_rate: float) -> None:
    """Raise CalibrationError unless a threshold by so many groups of good frames can aim at the rate."""
    if not 0 < false_reject_rate < 1:
        raise CalibrationError(f"false_reject_rate must lie between 0 and 1, got {false_reject_rate:g}")
    if groups < 1:
        raise CalibrationError("no good frames were held out: a threshold needs at least one")
    if exact_rate(false_reject_rate) * (groups + 1) < 1:
        raise CalibrationError(
            f"a false-reject rate of {false_reject_rate:g} cannot be aimed at with {groups} held-out good frames: "
            f"they can aim at {lowest_rate(groups):g} or more, "
            f"and {false_reject_rate:g} needs {frames_needed(false_reject_rate)}"
        )


def frames_needed(false_reject_rate: float) -> int:
    """The fewest good frames, or groups of them, that can aim at the rate: ceil(1 / a) - 1."""
    return max(1, ceil(1 / exact_rate(false_reject_rate)) - 1)


def lowest_rate(groups: int) -> float:
    """The lowest rate that so many groups of good frames can aim at: 1 / (groups + 1), rounded up.

    In four decimals, or six where it is at most 0.01.
    """
    rate = Fraction(1, groups + 1)
    digits = 4 if rate > Fraction(1, 100) else 6
    return float(ceil(rate * 10**digits) / 10**digits)


def rate_in_reach(groups: int, false_reject_rate: float) -> float:
    """The rate itself where so many groups can aim at it, and else the lowest that they can.

    Raises:
        CalibrationError: there is no group, or the rate lies outside (0, 1).
    """
    if groups >= 1 and 0 < false_reject_rate < 1 and exact_rate(false_reject_rate) * (groups + 1) < 1:
        return lowest_rate(groups)
    check_rate(groups, false_reject_rate)
    return false_reject_rate


def rank_of_groups(groups: int, false_reject_rate: float) -> int:
    """k: the threshold is the k-th smallest score of so many frames, each its own group."""
    return max(1, ceil((groups + 1) * (1 - exact_rate(false_reject_rate))))


def exact_rate(rate: float) -> Fraction:
    """The decimal that the user wrote: 0.05 is 1/20, while the float 0.05 is a little more."""
    return Fraction(repr(float(rate)))
