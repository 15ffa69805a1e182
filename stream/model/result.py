"""The result of a frame."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from patchline.engine.types import Verdict


class GenerationRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The generation of the memory bank that judged a frame."""

    number: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    """Others write announcements too, and files are named by it."""
    sha256: str


class Box(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The worst patch as a rectangle on the frame as received, in pixels, H before W: top, left, height, width."""

    top_px: int
    left_px: int
    height_px: int
    width_px: int


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The one result of a frame (CloudEvents type `io.patchline.result.v1`).

    `score`, `threshold`, `p_value`, `generation` and `worst` are set for `pass` and `reject`, and `score_ratio`, unless
    the threshold is 0; `reason` (a code of `model.errors.Reason`) and `detail` (a sentence) for `not_inspected`.
    `latency_ms` is from read to result. Results of 0.1.0 have neither `score_ratio` nor `p_value`.
    """

    frame_id: str
    camera: str
    recipe: str
    time: datetime
    """When the frame was taken."""
    inspected_at: datetime
    verdict: Verdict
    latency_ms: float
    score: float | None = None
    threshold: float | None = None
    score_ratio: float | None = None
    """Score / threshold: it compares across cameras, recipes and generations."""
    p_value: float | None = None
    """How usual the score is among held-out good frames, on the high side: see `engine.bank.calibration`."""
    generation: GenerationRef | None = None
    worst: Box | None = None
    reason: str | None = None
    detail: str | None = None
    late: bool = False
    """The recipe's deadline had passed when the frame was judged."""
    image_sha256: str | None = None
    """The SHA-256 of the image that was judged, where its producer sent one: feedback names it."""

    def __post_init__(self) -> None:
        for name in ("time", "inspected_at"):
            check_zone(name, getattr(self, name))


def check_zone(name: str, time: datetime) -> None:
    """Refuse a time without a zone, or one that UTC cannot tell.

    Raises:
        ValueError: names the field and what was found.
    """
    if time.tzinfo is None:
        raise ValueError(f"{name} is {time.isoformat()}, expected a time zone")
    try:
        time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name} is {time.isoformat()}, expected a time between the years 1 and 9999 UTC") from None


def cell_box(grid: tuple[int, int], cell: tuple[int, int], size_px: tuple[int, ...], around: int = 0) -> Box:
    """The rectangle that a cell of the patch grid covers on an image; pixels that it covers in part belong to it.

    Args:
        grid: (rows, columns) of the patch grid.
        cell: (row, column).
        size_px: (H, W) of the image.
        around: cells on each side that are covered too, as far as the grid goes.
    """
    (rows, columns), (row, column), (height, width) = grid, cell, size_px
    top, left = max(0, row - around) * height // rows, max(0, column - around) * width // columns
    bottom = -(-min(rows, row + 1 + around) * height // rows)
    right = -(-min(columns, column + 1 + around) * width // columns)
    return Box(top_px=top, left_px=left, height_px=bottom - top, width_px=right - left)
