"""The threshold of a memory bank: which good frames it rests on, and how it follows from their scores.

Every good image of a fit is scored by rows that do not know it: the bank is the union of the coresets of K folds, and a
frame is scored without the rows of its own fold, at the fit and ever after. Over n good frames the threshold is the
k-th smallest score, k = ceil((n + 1)(1 - a)): the cross-conformal quantile (Vovk 2015, "Cross-conformal predictors";
Barber, Candès, Ramdas and Tibshirani 2021, "Predictive inference with the jackknife+", CV+). Where further good images
were given for the threshold alone, the bank has one fold, they are scored by all of it, and the same k is the
split-conformal quantile (Vovk et al.; Lei et al. 2018). Where a < 1 / (n + 1), k exceeds n: no score is high enough,
and a rate that can be aimed at is taken instead. `bank.figures` says what either promises.

Images that are copies of one another are a group: together they weigh as one image. Frame i weighs
1 / (frames of its group), and n is the number of groups.

Groups that a fit has set aside, as they look like defects, have no score that could be trusted, but count: as q of the
n, above every score. Where k exceeds n - q, the threshold is the largest score of the others. It then rejects
(q + 1) / (n + 1) of good frames if the q are good, and 1 / (n - q + 1) if they are defects.

A bank that learns may also rest its threshold on frames of the stream. Those are a selected sample, so that threshold
aims at the rate and promises nothing.
"""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import accumulate
from math import ceil, isfinite, lcm

import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.rates import check_rate, exact_rate, rank_of_groups
from patchline.engine.errors import CalibrationError, shown
from patchline.engine.types import Doubles

MOST_SET_ASIDE = 2**31
"""More images than any fit has."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A threshold and the good frames that it rests on.

    `scores` is float64 (n,), ascending; `threshold` is one of them, unless frames of the stream were added. `groups`,
    int32 (n,), is the group of each; None: each frame is its own. `proved` is the rate that a fit by folds proved.
    `fixed`: a person chose the threshold itself; it follows no score, and `false_reject_rate` is then no aim but the
    share of good frames above it. `set_aside` groups count beside these, above every score.
    """

    false_reject_rate: float
    scores: Doubles
    threshold: float
    groups: NDArray[np.int32] | None = None
    proved: float | None = None
    fixed: bool = False
    set_aside: int = 0
    _p_values: Doubles = field(init=False, repr=False)
    """Float64 (n + 1,): the p-value of a score that is above so many of `scores`."""

    def __post_init__(self) -> None:
        """Raises CalibrationError where the values contradict each other, whoever made them."""
        if flaw := _flaw_of_calibration(self):
            raise CalibrationError(f"calibration: {flaw}")
        object.__setattr__(self, "_p_values", _p_values(self.frames, self.groups, self.set_aside))

    def p_value(self, score: float) -> float:
        """How usual a score is among good frames: (1 + weight of the held-out ones that score as high) / (n + 1).

        Frames weigh 1 / (frames of their group), n is the number of groups; what was set aside scores higher than any
        frame. The result lies in [1 / (n + 1), 1], and frames of any camera and generation compare by it. It is
        conservative: good frames get too high a value rather than too low a one, as held-out scores lack the rows of
        their own fold and so lie above those of the line. A frame is rejected exactly where this is at most the
        false-reject rate, unless the threshold follows the stream, was chosen, or is the largest score for want of
        others (`rates_if_good_or_defects`).
        """
        return float(self._p_values[np.searchsorted(self.scores, score, side="left")])

    @property
    def frames(self) -> int:
        """How many good frames the threshold rests on."""
        return len(self.scores)

    @property
    def group_count(self) -> int:
        """How many groups they make."""
        return self.frames if self.groups is None else len(np.unique(self.groups))

    @property
    def rates_if_good_or_defects(self) -> tuple[float, float] | None:
        """The rates that the largest score stands for, if what was set aside is good and if it is defects.

        None where the k-th smallest score is one of those that are left, and so the threshold is as it was asked for.
        """
        others, q = self.group_count, self.set_aside
        if q == 0 or self.fixed or rank_of_groups(others + q, self.false_reject_rate) <= others:
            return None
        return (q + 1) / (others + q + 1), 1 / (others + 1)

    def promise(self, follows_stream: bool = False, folds: int = 1) -> str:
        """What the threshold promises, in one sentence.

        Args:
            follows_stream: whether it rests on good frames of the stream too.
            folds: of the fit; with 1, the frames gave no rows.
        """
        frames = f"{self.frames} held-out good frames"
        if self.group_count < self.frames:
            frames += f" in {self.group_count} groups"
        if self.set_aside:
            frames += f" and {self.set_aside} set aside"
        if self.fixed:
            scored = "" if folds == 1 else " (each scored without the rows of its own fold)"
            return (
                f"{self.threshold:.6g} was chosen by a person, does not follow the bank and promises nothing; "
                f"{100 * self.false_reject_rate:.3g} % of {frames}{scored} score above it"
            )
        if follows_stream:
            return (
                f"{self.threshold:.6g} aims to reject {self.false_reject_rate:g} of good frames and promises "
                f"nothing: beside {frames} it rests on those of the stream"
            )
        if folds == 1:
            return (
                f"a good frame scores above {self.threshold:.6g} with probability at most {self.false_reject_rate:g}, "
                f"on average over calibrations; it rests on {frames}"
            )
        proved = "aimed, not proved" if self.proved is None else f"proved: at most {self.proved:.2g}"
        aimed = f"{self.false_reject_rate:g} of good frames"
        if rates := self.rates_if_good_or_defects:
            aimed = f"{rates[0]:.2g} of good frames if what was set aside is good, {rates[1]:.2g} if it is defects"
        return (
            f"{self.threshold:.6g} aims to reject {aimed} ({proved}); it rests on {frames}, each scored without the "
            f"rows of its own fold"
        )


def calibrate(
    scores: Doubles,
    false_reject_rate: float,
    groups: NDArray[np.int32] | None = None,
    proved: float | None = None,
    set_aside: int = 0,
) -> Calibration:
    """The conformal threshold for a false-reject rate.

    Args:
        scores: float64 (n,), anomaly scores of good frames by rows that do not know them, in any order.
        false_reject_rate: a, the share of good frames that may be rejected, in (0, 1).
        groups: int32 (n,), the group of each frame; each its own where it is None.
        proved: the rate that is proved, where one is.
        set_aside: further groups, which count as above every score.

    Raises:
        CalibrationError: there are no scores, or the groups are too few to aim at a; the message names the rate that
            they can.
    """
    if groups is not None and len(np.unique(groups)) == len(groups):
        groups = None
    others = len(scores) if groups is None else len(np.unique(groups))
    if not others:
        raise CalibrationError("no good frames were held out: a threshold needs at least one")
    count = others + set_aside
    check_rate(count, false_reject_rate)
    order = np.argsort(scores, kind="stable")
    ordered = np.asarray(scores, dtype=np.float64)[order]
    if not np.isfinite(ordered).all():
        raise CalibrationError("the scores of held-out good frames must be finite")
    needed = min((count + 1) * (1 - exact_rate(false_reject_rate)), Fraction(others))
    if groups is None:
        rank = max(ceil(needed), 1) - 1
    else:
        groups = np.asarray(groups, dtype=np.int32)[order]
        rank = _weighted_rank(groups, needed)
    return Calibration(
        false_reject_rate=false_reject_rate,
        scores=ordered,
        threshold=float(ordered[rank]),
        groups=groups,
        proved=proved,
        set_aside=set_aside,
    )


def calibrate_with_stream(
    scores: Doubles,
    passed: Doubles,
    confirmed: Doubles,
    false_reject_rate: float,
    groups: NDArray[np.int32] | None = None,
    set_aside: int = 0,
) -> Calibration:
    """The threshold that also rests on good frames of the stream, each as it was scored when first seen.

    Args:
        scores: float64 (n,), scores of held-out good frames by this generation.
        passed: float64 (p,), of recent frames that passed.
        confirmed: float64 (c,), of frames that were rejected and confirmed as good.
        false_reject_rate: the share of good frames to reject, in (0, 1).
        groups: int32 (n,), of the held-out frames; each its own where it is None. A frame of the stream is its own.
        set_aside: groups that the fit set aside, which count as above every score.

    Raises:
        CalibrationError: all frames together are too few for the rate.
    """
    everything = np.concatenate([scores, passed, confirmed])
    of_all = None
    if groups is not None:
        first = int(groups.max(initial=0)) + 1
        of_all = np.concatenate([groups, first + np.arange(len(everything) - len(groups))]).astype(np.int32)
    pooled = calibrate(everything, false_reject_rate, of_all, set_aside=set_aside)
    order = np.argsort(scores, kind="stable")
    return Calibration(
        false_reject_rate=false_reject_rate,
        scores=scores[order],
        threshold=pooled.threshold,
        groups=None if groups is None else groups[order],
        set_aside=set_aside,
    )


def calibrate_at(
    scores: Doubles, threshold: float, groups: NDArray[np.int32] | None = None, set_aside: int = 0
) -> Calibration:
    """A threshold that a person chose, beside the scores of good frames.

    Args:
        scores: float64 (n,), anomaly scores of good frames by rows that do not know them, in any order.
        threshold: it stays what it is.
        groups: int32 (n,), the group of each frame; each its own where it is None.
        set_aside: further groups, which count as above every score.

    Raises:
        CalibrationError: there is no frame.
    """
    held_out = calibrate(
        scores, 0.5, groups, set_aside=set_aside
    )  # the scores in order: a rate that one frame alone can aim at
    is_above = held_out.scores > threshold
    above = Fraction(int(is_above.sum()))
    if held_out.groups is not None:
        _, which, sizes = np.unique(held_out.groups, return_inverse=True, return_counts=True)
        above = sum((Fraction(1, size) for size in sizes[which][is_above].tolist()), Fraction(0))
    share = float((above + set_aside) / (held_out.group_count + set_aside))
    return replace(held_out, threshold=threshold, false_reject_rate=share, fixed=True)


def _flaw_of_calibration(found: Calibration) -> str | None:
    """What no calibration has, or None."""
    scores, groups, rate = found.scores, found.groups, found.false_reject_rate
    if scores.dtype != np.float64 or scores.ndim != 1 or not len(scores):
        return f"scores must be float64 (n,), n 1 or more, found {scores.dtype} {scores.shape}"
    if not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
        return "scores must be finite and ascending"
    if groups is not None and (groups.dtype != np.int32 or groups.shape != scores.shape or groups.min() < 0):
        return f"groups must be int32 {scores.shape}, 0 or more each, found {groups.dtype} {groups.shape}"
    if not isfinite(found.threshold):
        return f"threshold must be finite, found {found.threshold}"
    if not (0 <= rate <= 1 if found.fixed else 0 < rate < 1):
        return f"false_reject_rate must lie between 0 and 1, found {rate:g}"
    if found.proved is not None and not 0 <= found.proved <= 1:
        return f"proved must lie between 0 and 1, found {found.proved:g}"
    if not 0 <= found.set_aside < MOST_SET_ASIDE:
        return f"set_aside must be 0 or more, less than {MOST_SET_ASIDE:,}, found {shown(found.set_aside)}"
    return None


def score_ratio(score: float, threshold: float) -> float | None:
    """How often the threshold fits into a score: above 1 where the frame is rejected. None where no number says it, as
    with a threshold of 0.
    """
    ratio = score / threshold if threshold > 0 else np.inf
    return ratio if isfinite(ratio) else None


def _weighted_rank(groups: NDArray[np.int32], needed: Fraction) -> int:
    """The first position up to which the frames' weights come to `needed`; a group weighs 1, in whole numbers exactly.

    Args:
        groups: int32 (n,), of the frames by rising score.
        needed: weight, at most the number of groups.
    """
    weights, whole = _whole_weights(groups)
    return next(rank for rank, weight in enumerate(accumulate(weights)) if weight >= needed * whole)


def _p_values(frames: int, groups: NDArray[np.int32] | None, set_aside: int) -> Doubles:
    """The p-value of a score above none, one, ... all of the frames by rising score, float64 (n + 1,), each rounded
    once.
    """
    above = 1 + set_aside
    if groups is None:
        return (above + np.arange(frames, -1.0, -1.0)) / (above + frames)
    weights, whole = _whole_weights(groups)
    as_high = [whole * above + weight for weight in list(accumulate(reversed(weights), initial=0))[::-1]]
    return np.array([weight / as_high[0] for weight in as_high], dtype=np.float64)


def _whole_weights(groups: NDArray[np.int32]) -> tuple[list[int], int]:
    """The weight of each frame in whole numbers, and what a group weighs in them."""
    _, which, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    whole = lcm(*sizes.tolist())
    return [whole // size for size in sizes[which].tolist()], whole
