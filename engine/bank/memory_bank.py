"""The memory bank: what good parts look like, where each row came from, and the threshold that goes with it.

`difference` tells two generations of one bank apart, frame by frame.
"""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.calibration import Calibration
from patchline.engine.errors import EngineError, shown
from patchline.engine.numerics.quantise import dequantise
from patchline.engine.recipe import Recipe, stated
from patchline.engine.types import Rows

MOST_FOLDS = 10_000
SCALES = (-100, 37)
"""Powers of two between which the scale lies: squared distances of any two rows are then finite in float32."""
LARGEST_RADIUS = 2.0**45
"""No radius is larger, in units of the scale: its square is a number that float64 holds with room to spare."""


class FrameOrigin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A frame that gave rows to the bank, and the generation that they joined."""

    name: str
    generation: int = 1
    fold: int | None = None
    """The fold that the fit dealt it to; None where it was learned, or there is one fold."""


class SetAside(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image that a fit set aside, as it looks like a defect: no row came from it."""

    name: str
    group: int
    """In the numbers of the fit's groups; a group is set aside as a whole."""
    counts: bool
    """Whether it is one of the calibration frames, and so counts as above the threshold."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryBank:
    """One immutable generation of a recipe's memory bank: M rows of D values, and all that judging with them needs.

    `rows` is int16 (M, D), times `scale` (a power of two) an embedding. Row i came from patch `row_patch[i]` (row-major
    on the patch grid) of frame `frames[row_frame[i]]`; both are int32 (M,). `covering_radius` is the L2 distance within
    which every patch of the fit lies of a row. `created` is when, in ISO 8601, as the caller knows it.

    With more than one fold the rows are the union of the folds' own coresets, by greedy rank, the folds in turn: what
    the folds chose first lies first. A fold's rows are those of its frames.
    """

    recipe: Recipe
    generation: int
    rows: Rows
    scale: float
    frames: tuple[FrameOrigin, ...]
    row_frame: NDArray[np.int32]
    row_patch: NDArray[np.int32]
    grid: tuple[int, int]
    covering_radius: float
    calibration: Calibration
    folds: int = 1
    """Folds of the fit. With 1 the calibration frames gave no rows, and no row is passed over for their sake."""
    fold_radius: float | None = None
    """The smallest covering radius of a fold over its own patches; None where there is one fold."""
    created: str = ""
    calibration_patches: tuple[tuple[str, Rows], ...] = field(default=(), repr=False)
    """The calibration frames of a bank that was just fitted, by name, with their embeddings, int16 (P, D). `save_bank`
    stores them, so that the bank can learn; a bank that was read from a store has none, as they lie there.
    """
    calibration_folds: tuple[int, ...] = ()
    """Of generation 1: the fold of each calibration frame, in the order in which they are stored; empty with one fold.
    """
    calibration_groups: tuple[int, ...] = ()
    """Of generation 1: the group of each calibration frame, in that order; empty where each is its own."""
    set_aside: tuple[SetAside, ...] = ()
    """Of generation 1: what the fit set aside. `calibration.set_aside` is how many groups of it count, ever after."""

    def __post_init__(self) -> None:
        flaw = _flaw(self)
        if flaw:
            raise EngineError(f"memory bank of recipe {self.recipe.name!r}: {flaw}")
        for array in (self.rows, self.row_frame, self.row_patch, self.calibration.scores):
            array.setflags(write=False)

    @property
    def threshold(self) -> float:
        """Frames that score above it are rejected."""
        return self.calibration.threshold

    @property
    def promise(self) -> str:
        """What the threshold promises, in one sentence; nothing, where it follows the stream."""
        follows_stream = self.generation > 1 and self.recipe.stream_scores
        return self.calibration.promise(follows_stream=follows_stream, folds=self.folds)

    @cached_property
    def row_fold(self) -> NDArray[np.int32]:
        """The fold of each row, int32 (M,): `folds` where it was learned; all 0 where there is one fold."""
        if self.folds == 1:
            return np.zeros(len(self.rows), dtype=np.int32)
        of_frame = [self.folds if frame.fold is None else frame.fold for frame in self.frames]
        return np.array(of_frame, dtype=np.int32)[self.row_frame]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of what the bank holds: recipe, rows, provenance, radius and calibration, whatever the number of the
        generation and the time: two banks with one SHA-256 judge alike, and came from the same patches.
        """
        digest = hashlib.sha256(b"patchline memory bank 1\n")
        header = {
            "recipe": stated(self.recipe),
            "scale": self.scale,
            "frames": [frame.name for frame in self.frames],
            "grid": self.grid,
            "covering_radius": self.covering_radius,
            "false_reject_rate": self.calibration.false_reject_rate,
            "threshold": self.threshold,
        }
        scores: list[NDArray[Any]] = [self.calibration.scores]
        if self.folds > 1:
            of_frame = [frame.fold for frame in self.frames]
            header |= {"folds": self.folds, "frame_folds": of_frame, "fold_radius": self.fold_radius}
        if self.calibration.set_aside:
            header["set_aside"] = self.calibration.set_aside
        if self.calibration.groups is not None:
            scores.append(self.calibration.groups)
        digest.update(msgspec.json.encode(header, order="deterministic"))
        arrays: list[NDArray[Any]] = [self.rows, self.row_frame, self.row_patch, *scores]
        for array in arrays:
            little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"\n{little_endian.dtype.str} {little_endian.shape}\n".encode())
            digest.update(little_endian.data)
        return digest.hexdigest()

    def values(self) -> NDArray[np.float32]:
        """The rows as embeddings, float32 (M, D), a new array."""
        return dequantise(self.rows, self.scale)

    def provenance(self, row: int) -> tuple[str, int]:
        """The frame and the patch (row-major on the grid) that a row came from."""
        return self.frames[int(self.row_frame[row])].name, int(self.row_patch[row])


@dataclass(frozen=True, slots=True)
class FrameChange:
    """Rows of one frame that only the later bank has, and that only the earlier one has."""

    frame: str
    added: int
    removed: int


def difference(before: MemoryBank, after: MemoryBank) -> tuple[FrameChange, ...]:
    """The frames whose rows differ, in the order of the banks' frames; a row is its frame, patch and values."""
    rows_before, rows_after = _rows(before), _rows(after)
    added = Counter(frame for frame, _, _ in rows_after - rows_before)
    removed = Counter(frame for frame, _, _ in rows_before - rows_after)
    names = dict.fromkeys(origin.name for origin in (*before.frames, *after.frames))
    return tuple(FrameChange(name, added[name], removed[name]) for name in names if added[name] or removed[name])


def _flaw(bank: MemoryBank) -> str | None:
    """What contradicts itself in a bank, or None."""
    M = len(bank.rows)
    if bank.rows.dtype != np.int16 or bank.rows.ndim != 2 or 0 in bank.rows.shape:
        return f"rows must be int16 (M, D), neither of them 0, found {bank.rows.dtype} {bank.rows.shape}"
    for name, array in (("row_frame", bank.row_frame), ("row_patch", bank.row_patch)):
        if array.dtype != np.int32 or array.shape != (M,):
            return f"{name} must be int32 ({M},), found {array.dtype} {array.shape}"
    if bank.row_frame.min() < 0 or bank.row_frame.max() >= len(bank.frames):
        return f"row_frame must name one of {len(bank.frames)} frames"
    if not all(1 <= cells <= pixels for cells, pixels in zip(bank.grid, bank.recipe.image_size_px, strict=True)):
        return f"grid must be (h, w), 1 or more each and at most the image's size, found {shown(bank.grid)}"
    if bank.row_patch.min() < 0 or bank.row_patch.max() >= bank.grid[0] * bank.grid[1]:
        return f"row_patch must lie on the grid {bank.grid}"
    outside = [frame.name for frame in bank.frames if frame.fold is not None and not 0 <= frame.fold < bank.folds]
    if not 1 <= bank.folds <= MOST_FOLDS or outside:
        folds = shown(bank.folds)
        return (
            f"folds must be 1 to {MOST_FOLDS:,}, and each frame's one of them, found {folds} and {outside[:1]} outside"
        )
    if bank.generation < 1:
        return f"generation must be 1 or more, found {bank.generation}"
    mantissa, exponent = math.frexp(bank.scale)
    if mantissa != 0.5 or not SCALES[0] < exponent <= SCALES[1] + 1:
        return f"scale must be a power of two from 2^{SCALES[0]} to 2^{SCALES[1]}, found {bank.scale!r}"
    for name, radius in (("covering_radius", bank.covering_radius), ("fold_radius", bank.fold_radius)):
        if radius is not None and not 0 <= radius <= LARGEST_RADIUS * bank.scale:
            return f"{name} must be 0 or more, and at most 2^45 of the scale, found {radius!r}"
    if bank.threshold < 0:
        return f"threshold must be 0 or more, found {bank.threshold!r}"
    return _flaw_of_first(bank) if bank.generation == 1 else None


def _flaw_of_first(bank: MemoryBank) -> str | None:
    """What contradicts itself in what generation 1 says of the frames of its calibration, or None."""
    frames, aside = bank.calibration.frames, bank.calibration.set_aside
    for name, numbers, most in (
        ("calibration_folds", bank.calibration_folds, bank.folds),
        ("calibration_groups", bank.calibration_groups, 2**31),
    ):
        if numbers and len(numbers) != frames:
            return f"{name} must be one for each of {frames} calibration frames, found {len(numbers)}"
        if outside := [number for number in numbers if not 0 <= number < most]:
            return f"{name} must be 0 or more, less than {most}, found {shown(outside[0])}"
    if outside := [found.group for found in bank.set_aside if not 0 <= found.group < 2**31]:
        return f"the group of what was set aside must be 0 or more, less than {2**31}, found {shown(outside[0])}"
    groups = len({found.group for found in bank.set_aside if found.counts})
    if bank.set_aside and groups != aside:
        return f"{groups} groups that were set aside count, and the calibration counts {aside}"
    return None


def _rows(bank: MemoryBank) -> set[tuple[str, int, bytes]]:
    return {(*bank.provenance(row), bank.rows[row].tobytes()) for row in range(len(bank.rows))}
