"""How well scores separate good frames from defective ones, overall and by defect type.

A frame is rejected where its score lies above the threshold. False rejects are good frames rejected; escapes are
defective frames that pass. A figure that the frames at hand cannot give (no defective frame, no masks) is None, and
`Evaluation.undefined` says why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_auc_score, roc_curve

from patchline.engine.errors import EvaluationError
from patchline.engine.evaluation.pixel_metrics import PixelFigure, PixelTally

Figure = TypeVar("Figure")

GOOD = "good"
"""The kind of a frame without a defect; any other kind names a defect."""


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """The ROC curve's corners, thresholds descending.

    `false_reject_rate` and `detection_rate` are float64 (n,), the shares of good and of defective frames whose scores
    are at or above `thresholds`; the first threshold is infinite.
    """

    false_reject_rate: NDArray[np.float64]
    detection_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class F1Max:
    """The best F1 of any threshold, and a threshold that gives it: frames that score above it are rejected."""

    f1: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectEvaluation:
    """The figures of one defect type against all good frames."""

    frames: int
    image_auroc: float | None = None
    escapes: int | None = None
    escape_rate: float | None = None
    pixel_auroc: float | None = None
    aupro: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All figures of a test set; rates and areas lie in [0, 1], and None is explained in `undefined` by field name.

    `pixel_error` is the largest error that binned thresholds can have caused in `pixel_auroc` and `aupro`.
    """

    good_frames: int
    defective_frames: int
    threshold: float | None
    image_auroc: float | None = None
    f1_max: float | None = None
    f1_max_threshold: float | None = None
    false_rejects: int | None = None
    false_reject_rate: float | None = None
    escapes: int | None = None
    escape_rate: float | None = None
    pixel_auroc: float | None = None
    aupro: float | None = None
    pixel_error: float | None = None
    by_defect: Mapping[str, DefectEvaluation] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)


def evaluate(
    scores: NDArray[np.float64] | Sequence[float],
    kinds: Sequence[str],
    *,
    threshold: float | None = None,
    pixels: PixelTally | None = None,
) -> Evaluation:
    """Compute every figure that the frames allow.

    Args:
        scores: (n,) anomaly scores.
        kinds: n names, `good` or a defect type.
        threshold: of the verdicts; without one, false rejects and escapes are left out.
        pixels: maps and masks already tallied under the same kinds; without them, pixel figures are left out.

    Raises:
        EvaluationError: there is no frame, the lengths differ, or a score is not finite.
    """
    values = _checked(scores)
    if len(kinds) != len(values):
        raise EvaluationError(f"{len(values)} scores for {len(kinds)} kinds: expected one kind for each score")
    names = np.asarray(kinds, dtype=object)
    good = names == GOOD
    undefined: dict[str, str] = {}
    attempt = partial(_attempt, undefined)

    best = attempt("f1_max", partial(f1_max, values, ~good))
    rejected = None if threshold is None else values > threshold
    false_rejects, false_reject_rate = attempt("false_reject_rate", partial(_share, rejected, good)) or (None, None)
    passed = None if rejected is None else ~rejected
    escapes, escape_rate = attempt("escape_rate", partial(_share, passed, ~good)) or (None, None)
    pixel_auroc = attempt("pixel_auroc", partial(_pixel_auroc, pixels, None))
    pixel_aupro = attempt("aupro", partial(_aupro, pixels, None))

    by_defect = {}
    for kind in sorted(set(kinds) - {GOOD}):
        chosen = names == kind
        both = good | chosen
        missed = attempt("escape_rate", partial(_share, passed, chosen))
        kind_auroc = attempt(f"pixel_auroc of {kind}", partial(_pixel_auroc, pixels, (GOOD, kind)))
        kind_aupro = attempt(f"aupro of {kind}", partial(_aupro, pixels, (GOOD, kind)))
        by_defect[kind] = DefectEvaluation(
            frames=int(chosen.sum()),
            image_auroc=attempt("image_auroc", partial(image_auroc, values[both], ~good[both])),
            escapes=missed[0] if missed else None,
            escape_rate=missed[1] if missed else None,
            pixel_auroc=kind_auroc.value if kind_auroc else None,
            aupro=kind_aupro.value if kind_aupro else None,
        )
    return Evaluation(
        good_frames=int(good.sum()),
        defective_frames=int((~good).sum()),
        threshold=threshold,
        image_auroc=attempt("image_auroc", partial(image_auroc, values, ~good)),
        f1_max=best.f1 if best else None,
        f1_max_threshold=best.threshold if best else None,
        false_rejects=false_rejects,
        false_reject_rate=false_reject_rate,
        escapes=escapes,
        escape_rate=escape_rate,
        pixel_auroc=pixel_auroc.value if pixel_auroc else None,
        aupro=pixel_aupro.value if pixel_aupro else None,
        pixel_error=max(pixel_auroc.error, pixel_aupro.error) if pixel_auroc and pixel_aupro else None,
        by_defect=by_defect,
        undefined=undefined,
    )


def image_auroc(scores: NDArray[np.float64], defective: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: the chance that a defective frame scores above a good one, ties counting half.

    Args:
        scores: (n,) anomaly scores.
        defective: bool (n,).

    Raises:
        EvaluationError: one of the two classes is missing.
    """
    _need_both(defective)
    return float(roc_auc_score(defective, scores))


def roc(scores: NDArray[np.float64], defective: NDArray[np.bool_]) -> Roc:
    """The ROC curve of scores (n,) against bool (n,).

    Raises:
        EvaluationError: one of the two classes is missing.
    """
    _need_both(defective)
    return Roc(*roc_curve(defective, scores))


def f1_max(scores: NDArray[np.float64], defective: NDArray[np.bool_]) -> F1Max:
    """Find the best F1 score (the harmonic mean of precision and recall of `defective`) over all thresholds.

    Its threshold lies midway between the lowest score rejected and the next one below it.

    Raises:
        EvaluationError: one of the two classes is missing.
    """
    _need_both(defective)
    precision, recall, thresholds = precision_recall_curve(defective, scores)
    # The last point (precision 1, recall 0) has no threshold; F1 is 0 there, so leaving it out loses nothing.
    f1 = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], np.finfo(np.float64).tiny)
    best = int(np.argmax(f1))
    lowest_rejected = float(thresholds[best])
    below = scores[scores < lowest_rejected]
    middle = (lowest_rejected + float(below.max())) / 2 if len(below) else -np.inf
    # Neighbouring floats have no middle, and below the lowest score there is nothing to be in the middle of.
    between = len(below) > 0 and middle < lowest_rejected
    threshold = middle if between else float(np.nextafter(lowest_rejected, -np.inf))
    return F1Max(f1=float(f1[best]), threshold=threshold)


def _checked(scores: NDArray[np.float64] | Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise EvaluationError(f"expected the scores of one frame or more, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise EvaluationError("every score must be a finite number")
    return values


def _need_both(defective: NDArray[np.bool_]) -> None:
    if not defective.any():
        raise EvaluationError("no frame is defective: the figure needs defective frames as well as good ones")
    if defective.all():
        raise EvaluationError("no frame is good: the figure needs good frames as well as defective ones")


def _attempt(undefined: dict[str, str], what: str, compute: Callable[[], Figure]) -> Figure | None:
    try:
        return compute()
    except EvaluationError as error:
        undefined.setdefault(what, str(error))
        return None


def _share(outcome: NDArray[np.bool_] | None, among: NDArray[np.bool_]) -> tuple[int, float]:
    if outcome is None:
        raise EvaluationError("no threshold was given")
    if not among.any():
        raise EvaluationError("there is no such frame")
    count = int(np.sum(outcome & among))
    return count, count / int(among.sum())


def _pixel_auroc(pixels: PixelTally | None, kinds: Sequence[str] | None) -> PixelFigure:
    return _given(pixels).auroc(kinds)


def _aupro(pixels: PixelTally | None, kinds: Sequence[str] | None) -> PixelFigure:
    return _given(pixels).aupro(kinds)


def _given(pixels: PixelTally | None) -> PixelTally:
    if pixels is None:
        raise EvaluationError("no ground-truth masks were given")
    return pixels
