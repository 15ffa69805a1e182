"""Whether what a camera shows has moved away from what its bank was calibrated on, by two stated tests.

Scores: the one-sided two-sample Kolmogorov-Smirnov test of whether a window's scores are higher than the calibration
frames'. Those were scored without the rows of their own fold, so a line that has not moved scores lower: lower is no
drift. Embeddings: the distance of the window's mean embedding from the calibration frames' mean, against how far the
means of windows drawn from the calibration frames themselves lie (a bootstrap of seeded draws). A new light moves
nearly every patch, so the mean embedding moves; bad parts move few patches, so the scores move and the mean embedding
stays.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
QUANTILE = 0.99
"""The quantile of the distances of drawn windows that the limit rests on."""
MARGIN = 2.0
"""A window beyond so many times that quantile has moved: frames in a row are alike, draws are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One window against calibration.

    `score_statistic` is the one-sided Kolmogorov-Smirnov distance, 0 to 1: the most by which the share of calibration
    frames that score s or less exceeds that of the window, over all s. `score_p` is its p-value, the chance of as large
    a one without drift; near 1 where scores are lower. `embedding_distance` is L2; `embedding_limit` is what windows of
    good frames stay below.
    """

    score_statistic: float
    score_p: float
    embedding_distance: float
    embedding_limit: float

    @property
    def moved(self) -> bool:
        """Whether the picture as a whole has changed: light, focus, view."""
        return self.embedding_distance > self.embedding_limit


@dataclass(frozen=True, slots=True, eq=False)
class DriftReference:
    """Calibration frames: scores float64 (n,), mean embeddings float64 (n, D)."""

    scores: NDArray[np.float64]
    embeddings: NDArray[np.float64]
    _limits: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Slow to import: here, not amid the stream, and only in processes that measure drift.
        import scipy.stats  # noqa: F401 - so that it is there later

    def compare(self, scores: NDArray[np.float64], embeddings: NDArray[np.float64]) -> Drift:
        """Compare a window: scores (m,) and mean embeddings (k, D) of its frames, neither of them empty."""
        from scipy.stats import ks_2samp

        # "less" is said of distribution functions: the window's lies below where its scores are higher.
        test = ks_2samp(scores, self.scores, alternative="less")
        centre = self.embeddings.mean(0)
        return Drift(
            score_statistic=float(test.statistic),
            score_p=float(test.pvalue),
            embedding_distance=float(np.linalg.norm(embeddings.mean(0) - centre)),
            embedding_limit=self._limit(len(embeddings)),
        )

    def _limit(self, frames: int) -> float:
        if frames not in self._limits:
            draws = np.random.default_rng(0).integers(0, len(self.embeddings), (DRAWS, frames))
            means = np.stack([self.embeddings[draw].mean(0) for draw in draws])
            distances = np.linalg.norm(means - self.embeddings.mean(0), axis=1)
            tiny = np.finfo(np.float64).tiny
            self._limits[frames] = max(tiny, MARGIN * float(np.quantile(distances, QUANTILE)))
        return self._limits[frames]
