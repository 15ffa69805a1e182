"""Why a frame was rejected, in pictures: its worst patch beside the good patch that it was nearest to."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.types import Image
from patchline.stream.decoding.image_file import read_image
from patchline.stream.evidence.store import Evidence, EvidenceStore, encode_png
from patchline.stream.model.errors import FeedbackError, UnreadableError
from patchline.stream.model.result import Box, GenerationRef, cell_box

CONTEXT_CELLS = 2
"""Cells of the patch grid around the patch that a crop shows."""
GoodImage = Callable[[str], Image | None]
"""An image of the fit by its name, RGB uint8 (H, W, 3); None where it is not to be had."""


class GoodPatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The row of the bank that the worst patch was nearest to: where and when it was seen."""

    row: int
    frame_id: str
    patch: int
    """Row-major on the patch grid."""
    generation: int
    """The generation that the frame joined; 1 is the fit."""
    time: datetime | None = None
    """When the frame was taken, where the evidence store still knows."""
    box: Box | None = None
    """On its frame, in pixels, where the image is to be had."""
    crop_png: bytes | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frame's worst patch, and the nearest good one. Crops are PNG (base64 in JSON), of the same part of the grid."""

    frame_id: str
    recipe: str
    generation: GenerationRef
    score: float
    threshold: float
    score_ratio: float | None = None
    p_value: float | None = None
    worst: Box
    nearest: GoodPatch
    crop_png: bytes | None = None


def explain(evidence: Evidence, bank: MemoryBank, store: EvidenceStore, good_image: GoodImage) -> Explanation:
    """Explain a frame by the generation that judged it; synchronous, reads the store.

    Args:
        evidence: of the frame, with a judged result.
        bank: the generation `evidence.result.generation`.
        store: where the frame, and confirmed frames, are.
        good_image: where frames of the fit are.

    Raises:
        EvidenceError: the store cannot be read now.
        FeedbackError: what was kept of the frame does not belong to this generation.
    """
    result = evidence.result
    assert result.generation is not None  # noqa: S101 - the result of a judged frame
    assert result.score is not None  # noqa: S101 - rejects and passes have all three
    assert result.threshold is not None  # noqa: S101 - see above
    if result.worst is None or evidence.nearest_row >= len(bank.rows):
        raise FeedbackError(
            f"frame {result.frame_id!r}: its evidence names row {evidence.nearest_row} of generation "
            f"{bank.generation}, which has {len(bank.rows)}, or not where it is worst; expected what a worker has kept"
        )
    name, patch = bank.provenance(evidence.nearest_row)
    origin = bank.frames[int(bank.row_frame[evidence.nearest_row])]
    known = store.find(name, [result.recipe])
    good = _decoded(store.image(known)) if known is not None else good_image(name)
    cell = divmod(patch, bank.grid[1])
    frame = _decoded(store.image(evidence))
    return Explanation(
        frame_id=result.frame_id,
        recipe=result.recipe,
        generation=result.generation,
        score=result.score,
        threshold=result.threshold,
        score_ratio=result.score_ratio,
        p_value=result.p_value,
        worst=result.worst,
        crop_png=_crop(frame, evidence.grid, evidence.worst_patch) if frame is not None else None,
        nearest=GoodPatch(
            row=evidence.nearest_row,
            frame_id=name,
            patch=patch,
            generation=origin.generation,
            time=known.result.time if known is not None else None,
            box=cell_box(bank.grid, cell, good.shape[:2]) if good is not None else None,
            crop_png=_crop(good, bank.grid, cell) if good is not None else None,
        ),
    )


def _crop(image: Image, grid: tuple[int, int], cell: tuple[int, int]) -> bytes:
    box = cell_box(grid, cell, image.shape[:2], CONTEXT_CELLS)
    part = image[box.top_px : box.top_px + box.height_px, box.left_px : box.left_px + box.width_px]
    return encode_png(part)


def _decoded(image: bytes | None) -> Image | None:
    try:
        return read_image(image, max_bytes=len(image), max_pixels=10**9) if image else None
    except UnreadableError:
        return None
