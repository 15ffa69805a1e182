"""A frame that has been judged, or found unreadable: what sinks take."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from patchline.engine.types import Image, Inspection, Verdict
from patchline.stream.model.errors import UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import RecipeConfig
from patchline.stream.model.result import Box, GenerationRef, Result, cell_box


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame ready for the engine. `prepared` is RGB uint8 at the recipe's size; `size_px` is (H, W) as received."""

    prepared: Image = field(repr=False)
    size_px: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A frame with its one result. `inspection` and `prepared` are None where the frame was not inspected."""

    frame: Frame
    result: Result
    inspection: Inspection | None = None
    prepared: Image | None = None
    judged_s: float = field(default_factory=monotonic)
    """The monotonic clock when the result was made."""
    payload_sha256: str | None = None
    """The SHA-256 of the bytes of a frame that was not inspected, in hex."""


def judged(frame: Frame, decoded: Decoded, inspection: Inspection, recipe: RecipeConfig | None) -> Outcome:
    """The outcome of a frame that the engine judged."""
    result = _result(
        frame,
        recipe,
        verdict=inspection.verdict,
        score=inspection.score,
        threshold=inspection.threshold,
        score_ratio=inspection.score_ratio,
        p_value=inspection.p_value,
        generation=GenerationRef(number=inspection.generation, sha256=inspection.generation_sha256),
        worst=worst_box(inspection, decoded.size_px),
        image_sha256=frame.content_sha256.lower() if frame.content_sha256 is not None else None,  # it has been compared
    )
    return Outcome(frame=frame, result=result, inspection=inspection, prepared=decoded.prepared)


def not_inspected(frame: Frame, error: UnreadableError, recipe: RecipeConfig | None) -> Outcome:
    """The outcome of a frame that cannot be inspected."""
    result = _result(frame, recipe, verdict=Verdict.NOT_INSPECTED, reason=error.reason.value, detail=error.detail)
    return Outcome(frame=frame, result=result, payload_sha256=error.sha256)


def _result(frame: Frame, recipe: RecipeConfig | None, *, verdict: Verdict, **found: Any) -> Result:
    now = datetime.now(UTC)
    return Result(
        frame_id=frame.frame_id,
        camera=frame.camera,
        recipe=frame.recipe,
        time=frame.time,
        inspected_at=now,
        verdict=verdict,
        latency_ms=round((monotonic() - frame.received_s) * 1000, 3),
        late=_is_late(frame, now, recipe),
        **found,
    )


def worst_box(inspection: Inspection, size_px: tuple[int, int]) -> Box:
    """The worst patch's cell of the patch grid, on the frame as received, `size_px` (H, W)."""
    return cell_box(inspection.grid, inspection.worst_patch, size_px)


def _is_late(frame: Frame, now: datetime, recipe: RecipeConfig | None) -> bool:
    if recipe is None or recipe.deadline_s is None:
        return False
    return (now - frame.time).total_seconds() > recipe.deadline_s
