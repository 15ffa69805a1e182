"""How well anomaly maps find defects: pixel AUROC and AUPRO, in one pass over the maps and without keeping them.

Both figures depend on nothing but the order of the pixels' scores, so scores are counted in bins whose relative width
is 2^-13 (the leading bits of a float32 number are its logarithm), and the memory needed does not grow with the frames.
Each figure comes with the largest error that the binning can have caused, computed from the bins that hold both
classes; on real maps it is below 1e-4, and the figure itself, by the trapezoidal rule, is far closer than that.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from patchline.engine.errors import EvaluationError
from patchline.engine.types import AnomalyMap

FPR_LIMIT = 0.3
"""The false-positive rate up to which AUPRO is taken, as in the MVTec benchmark."""
_DROPPED_BITS = 10
_BINS = 1 << (31 - _DROPPED_BITS)
_TOUCHING_CORNERS = np.ones((3, 3), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class PixelFigure:
    """A pixel-level figure in [0, 1], and the largest error that binning its thresholds can have caused."""

    value: float
    error: float


@dataclass(slots=True, eq=False)
class _Histogram:
    """Pixels of one kind of frame by score bin: normal ones, defective ones, and these by share of their region."""

    normal: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_BINS))
    defective: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_BINS))
    region_share: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_BINS))
    regions: int = 0
    low: int = _BINS
    high: int = 0


class PixelTally:
    """Counts the pixels of anomaly maps against ground-truth masks, frame by frame.

    Frames are tallied by kind ("good", or the name of a defect type), so that each type can be told apart afterwards.
    """

    def __init__(self) -> None:
        self._histograms: dict[str, _Histogram] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of frame tallied so far."""
        return tuple(self._histograms)

    def add(self, kind: str, anomaly_map: AnomalyMap, mask: NDArray[np.bool_] | None) -> None:
        """Count one frame.

        Args:
            kind: the kind of frame that the figures can be asked for.
            anomaly_map: float32 (H, W), finite and not negative.
            mask: bool (H, W), true where a pixel is defective; None where no pixel is.

        Raises:
            EvaluationError: the shapes differ, or the map holds a negative number or one that is not finite.
        """
        scores = np.ascontiguousarray(anomaly_map, dtype=np.float32)
        if mask is not None and mask.shape != scores.shape:
            raise EvaluationError(f"the mask is {mask.shape}, the anomaly map {scores.shape}: they must have one shape")
        if scores.ndim != 2 or scores.size == 0:
            raise EvaluationError(f"expected an anomaly map (H, W), got shape {scores.shape}")
        if not np.isfinite(scores).all() or scores.min() < 0:
            raise EvaluationError("an anomaly map must hold finite numbers that are not negative")
        # Bit patterns of numbers that are not negative ascend with them; adding 0 makes -0 into 0.
        bins = ((scores + np.float32(0)).view(np.uint32) >> _DROPPED_BITS).astype(np.int64)
        low, high = int(bins.min()), int(bins.max()) + 1
        bins -= low
        width = high - low

        histogram = self._histograms.setdefault(kind, _Histogram())
        histogram.low, histogram.high = min(histogram.low, low), max(histogram.high, high)
        if mask is None or not mask.any():
            histogram.normal[low:high] += np.bincount(bins.ravel(), minlength=width)
            return
        defective = bins[mask]
        histogram.normal[low:high] += np.bincount(bins[~mask], minlength=width)
        histogram.defective[low:high] += np.bincount(defective, minlength=width)
        labels, regions = ndimage.label(mask, structure=_TOUCHING_CORNERS)
        region = labels[mask]
        share = 1.0 / np.bincount(region, minlength=regions + 1)[region]
        histogram.region_share[low:high] += np.bincount(defective, weights=share, minlength=width)
        histogram.regions += int(regions)

    def auroc(self, kinds: Iterable[str] | None = None) -> PixelFigure:
        """Area under the ROC curve over all pixels of the given kinds of frame (all kinds by default).

        Raises:
            EvaluationError: no pixel is defective, or none is normal.
        """
        normal, defective, _, _ = self._total(kinds)
        return _area(normal / normal.sum(), defective / defective.sum(), limit=1.0)

    def aupro(self, kinds: Iterable[str] | None = None, *, limit: float = FPR_LIMIT) -> PixelFigure:
        """Area under the per-region overlap curve up to a false-positive rate, divided by that rate.

        The overlap at a threshold is the share of a defective region's pixels that score at or above it, averaged over
        regions, so that a small defect weighs as much as a large one; regions are connected components in which corners
        touch. Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, section 5.2.

        Args:
            kinds: kinds of frame to count, all by default.
            limit: largest share of normal pixels at or above the threshold, in (0, 1].

        Raises:
            EvaluationError: no pixel is defective, or none is normal.
        """
        normal, _, region_share, regions = self._total(kinds)
        return _area(normal / normal.sum(), region_share / regions, limit=limit)

    def _total(
        self, kinds: Iterable[str] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], int]:
        chosen = [
            self._histograms[kind] for kind in (self.kinds if kinds is None else kinds) if kind in self._histograms
        ]
        low = min((h.low for h in chosen), default=0)
        high = max((h.high for h in chosen), default=0)
        normal, defective, region_share = np.zeros((3, max(high - low, 0)))
        for h in chosen:
            normal += h.normal[low:high]
            defective += h.defective[low:high]
            region_share += h.region_share[low:high]
        if not defective.any():
            raise EvaluationError("no pixel is marked as defective: pixel figures need ground-truth masks")
        if not normal.any():
            raise EvaluationError("every pixel is marked as defective: pixel figures need normal ones too")
        return normal, defective, region_share, sum(h.regions for h in chosen)


def _area(false_steps: NDArray[np.float64], true_steps: NDArray[np.float64], *, limit: float) -> PixelFigure:
    """Area under the curve that rises by `true_steps` while `false_steps` move it right, thresholds descending."""
    x = np.concatenate(([0.0], np.cumsum(false_steps[::-1])))
    y = np.concatenate(([0.0], np.cumsum(true_steps[::-1])))
    inside = int(np.searchsorted(x, limit, side="right"))
    if inside < len(x):
        # The curve is cut at the limit, on the straight line between the two thresholds around it.
        share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        x = np.append(x[:inside], limit)
        y = np.append(y[:inside], y[inside - 1] + share * (y[inside] - y[inside - 1]))
    widths, heights = np.diff(x), np.diff(y)
    # Within a bin the true curve runs somewhere between the rectangle's two corners; the trapezoid takes the middle.
    return PixelFigure(
        value=float(np.sum(widths * (y[1:] + y[:-1])) / 2 / limit), error=float(np.sum(widths * heights) / 2 / limit)
    )
