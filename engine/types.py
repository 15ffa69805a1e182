"""Data that the whole engine passes about: arrays by their type, images, and what an inspection says of a frame."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
"""Numbers of rows, queries or frames."""
Codes: TypeAlias = NDArray[np.int8]
"""Vectors rounded to 8-bit integers (see `search.int8_codes`)."""
Rows: TypeAlias = NDArray[np.int16]
"""Stored embeddings, int16 (N, D); times the scale they are L2-comparable embeddings."""
Image: TypeAlias = NDArray[np.uint8]
"""RGB, uint8, (H, W, 3)."""
AnomalyMap: TypeAlias = NDArray[np.float32]
"""Anomaly score by pixel, float32, (H, W) of the recipe's image size."""


class Verdict(StrEnum):
    """The outcome of a frame. `NOT_INSPECTED` is never the engine's: it only judges what could be decoded."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    REJECT = "reject"
    NOT_INSPECTED = "not_inspected"


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """A frame as it is learned from: patches as the bank stores them, int16 (P, D); and by the bank that judged then,
    the row nearest to each, int64 (P,), and the frame's score.
    """

    patches: Rows
    nearest: NDArray[np.int64]
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One frame judged by one generation of one recipe's memory bank.

    `score` and `threshold` are L2 distances (re-weighted, Eq. 7) in the embedding space. `score_ratio` is score /
    threshold, None where no number says it (`bank.calibration.score_ratio`). `p_value`, in (0, 1], says how usual the
    score is among held-out good frames, on the high side (`Calibration.p_value`). `worst_patch` is
    (row, column) on the patch grid `grid` (h, w); `nearest_row` is m*, the bank's row nearest to it. `anomaly_map`
    is (H, W) float32 at the recipe's image size, or None where none was asked for.
    """

    recipe: str
    generation: int
    generation_sha256: str
    threshold: float
    score: float
    score_ratio: float | None
    p_value: float
    verdict: Verdict
    grid: tuple[int, int]
    worst_patch: tuple[int, int]
    nearest_row: int
    anomaly_map: AnomalyMap | None = None
