"""What a camera's first hour has shown: how bright each cell was, how sharp edges were, and whether pictures repeat.

Of the hour's pictures a few hundred are kept as samples, drawn so that each picture has the same chance (Vitter's
algorithm R, 1985). Their quantiles are the references: a hand that came once into the view widens nothing.
"""

import base64
import random
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from patchline.stream.cameras.health.figures import Cells, PictureFigures

SAMPLES = 200
_LEAST_SAMPLES = 30
_QUIET_LEVELS = 28
_AROUND = 5
PLAIN = 2.0
"""Levels of structure below which nothing is to be seen but noise."""
_TAIL = 1.0
"""Percent of the samples that may lie outside on each side."""
_LONGEST_STEP_S = 10.0
"""A picture stands for the time since the one before it, and for no more than so much."""
_Levels = Annotated[int, msgspec.Meta(ge=0, le=255)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class LearnedSample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of one picture. `cells` is base64 of uint8 (h, w)."""

    cells: str
    low: _Levels
    high: _Levels
    sharpness: tuple[float, float]


class Learned(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What has been learned of a camera, as its file has it."""

    camera: str
    settings: str
    """Under which settings: see `HealthConfig.settings`."""
    size_px: tuple[int, int]
    """(H, W) of the pictures."""
    cells: tuple[int, int]
    """(h, w)."""
    seconds: float = 0.0
    """How much of the hour has passed."""
    pictures: _Count = 0
    repeats: _Count = 0
    """Pictures that equalled the one before them bit for bit,"""
    repeats_running: _Count = 0
    """and of these, while another camera of the line moved."""
    done: bool = False
    samples: list[LearnedSample] = []
    version: int = 1

    def check(self) -> None:
        """Refuse what no camera can have left.

        Raises:
            ValueError: says what was found.
        """
        height, width = self.cells
        for sample in self.samples:
            if len(base64.b64decode(sample.cells, validate=True)) != height * width:
                raise ValueError(f"a sample has not the {height} x {width} cells that it should have")


@dataclass(frozen=True, slots=True)
class References:
    """The quantiles of what was learned."""

    low: Cells
    middle: Cells
    high: Cells
    """What each cell was at its darkest, mostly, and at its brightest, uint8 (h, w)."""
    structure: npt.NDArray[np.float32]
    """How much each cell's neighbourhood varied at its plainest: `variation_of`, (h, w)."""
    plain_low: Cells
    plain_high: Cells
    """What each cell was at its darkest and brightest while nothing was to be seen around it."""
    quiet: npt.NDArray[np.bool_]
    """The cells in which nothing ever happens, (h, w)."""
    sharpness: tuple[float, float]
    """The least along rows and columns; below 0 where there was no edge to tell by."""
    least_high: int
    least_spread: int
    most_low: int
    shift: float
    """How far the scene lay from where it mostly lies, as a share of the width."""
    repeats: int
    repeats_running: int


class Learning:
    """Takes pictures until the hour is over.

    Args:
        learned: where it goes on.
        seconds: how long it lasts.
    """

    def __init__(self, learned: Learned, seconds: float) -> None:
        self.learned = learned
        self._seconds = seconds
        self._random = random.Random(learned.pictures)  # noqa: S311 - a draw of samples, the same in every run
        self._last_s: float | None = None

    def repeated(self, *, running: bool) -> None:
        """A healthy picture equals the one before it bit for bit; `running`: while another camera of its line moves."""
        self.learned.repeats += 1
        self.learned.repeats_running += running

    def take(self, figures: PictureFigures, at_s: float) -> bool:
        """Learn one healthy picture.

        Args:
            figures: its figures.
            at_s: when it was taken.

        Returns:
            Whether the hour is over.
        """
        learned = self.learned
        if self._last_s is not None:
            learned.seconds += min(max(at_s - self._last_s, 0.0), _LONGEST_STEP_S)
        self._last_s = at_s
        learned.pictures += 1
        index = len(learned.samples) if len(learned.samples) < SAMPLES else self._random.randrange(learned.pictures)
        if index < SAMPLES:
            sample = LearnedSample(
                cells=base64.b64encode(figures.cells.tobytes()).decode(),
                low=figures.low,
                high=figures.high,
                sharpness=figures.sharpness,
            )
            learned.samples[index : index + 1] = [sample]
        learned.done = learned.seconds >= self._seconds and len(learned.samples) >= _LEAST_SAMPLES
        return learned.done

    def pause(self) -> None:
        """The next picture comes after a time that teaches nothing."""
        self._last_s = None


def references_of(learned: Learned) -> References:
    """The quantiles of what was learned."""
    samples = learned.samples
    height, width = learned.cells
    raw = b"".join(base64.b64decode(sample.cells) for sample in samples)
    cells = np.frombuffer(raw, np.uint8).reshape(len(samples), height, width)
    low, middle, high = np.percentile(cells, [_TAIL, 50, 100 - _TAIL], axis=0).astype(np.uint8)
    quiet = high.astype(np.int16) - low <= _QUIET_LEVELS
    structures = np.stack([variation_of(one) for one in cells])
    levels = np.where(structures < PLAIN, cells.astype(np.float32), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # cells that were never plain
        plain = np.nanpercentile(levels, [_TAIL, 100 - _TAIL], axis=0)
    plain_low, plain_high = np.where(np.isnan(plain), [low, high], plain).astype(np.uint8)
    shifts = [abs(shift) for one in cells for shift, response in [shift_of(one, middle)] if response > 0]
    return References(
        low=low,
        middle=middle,
        high=high,
        structure=np.percentile(structures, _TAIL, axis=0).astype(np.float32),
        plain_low=plain_low,
        plain_high=plain_high,
        quiet=quiet,
        sharpness=(_least([s.sharpness[0] for s in samples]), _least([s.sharpness[1] for s in samples])),
        least_high=int(_least([s.high for s in samples])),
        least_spread=int(_least([s.high - s.low for s in samples])),
        most_low=int(np.percentile([s.low for s in samples], 100 - _TAIL)),
        shift=float(np.percentile(shifts, 100 - _TAIL)) if shifts else 0.0,
        repeats=learned.repeats,
        repeats_running=learned.repeats_running,
    )


def _least(values: list[float] | list[int]) -> float:
    told = [value for value in values if value >= 0]
    return float(np.percentile(told, _TAIL)) if told else -1.0


def variation_of(cells: Cells | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The standard deviation of the levels around each cell, float32 (h, w)."""
    levels = cells.astype(np.float32)
    mean, squares = cv2.blur(levels, (_AROUND, _AROUND)), cv2.blur(np.square(levels), (_AROUND, _AROUND))
    return np.sqrt(np.maximum(squares - np.square(mean), 0))


def shift_of(cells: Cells, scene: Cells) -> tuple[complex, float]:
    """How far a picture lies from a scene, by phase correlation (Kuglin and Hines, 1975), and how sure that is.

    Args:
        cells, scene: uint8 (h, w).

    Returns:
        The shift as a share of the width, right and, in the imaginary part, down; and the height of the peak, 0 to 1.
    """
    height, width = scene.shape
    window = _window(height, width)
    (right, down), response = cv2.phaseCorrelate(scene.astype(np.float32), cells.astype(np.float32), window)
    return complex(right, down) / width, float(response)


@cache
def _window(height: int, width: int) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F), np.float32)
