"""A frame that has been judged, or found unreadable: what sinks take."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic

from engine.inspection import Image, Inspection, Verdict
from stream.config import RecipeConfig
from stream.decode import Decoded
from stream.errors import UnreadableError
from stream.frame import Frame
from stream.messages import Box, GenerationRef, Result
from stream.patch_box import cell_box


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A frame with its one result. `inspection` and `prepared` are None where the frame was not inspected."""

    frame: Frame
    result: Result
    inspection: Inspection | None = None
    prepared: Image | None = None
    judged_s: float = field(default_factory=monotonic)
    """The monotonic clock when the result was made."""


def judged(frame: Frame, decoded: Decoded, inspection: Inspection, recipe: RecipeConfig | None) -> Outcome:
    """The outcome of a frame that the engine judged."""
    now = datetime.now(UTC)
    result = Result(
        frame_id=frame.frame_id,
        camera=frame.camera,
        recipe=frame.recipe,
        time=frame.time,
        inspected_at=now,
        verdict=inspection.verdict,
        latency_ms=_latency_ms(frame),
        score=inspection.score,
        threshold=inspection.threshold,
        generation=GenerationRef(number=inspection.generation, sha256=inspection.generation_sha256),
        worst=worst_box(inspection, decoded.size_px),
        late=_is_late(frame, now, recipe),
    )
    return Outcome(frame=frame, result=result, inspection=inspection, prepared=decoded.prepared)


def not_inspected(frame: Frame, error: UnreadableError, recipe: RecipeConfig | None) -> Outcome:
    """The outcome of a frame that cannot be inspected."""
    now = datetime.now(UTC)
    result = Result(
        frame_id=frame.frame_id,
        camera=frame.camera,
        recipe=frame.recipe,
        time=frame.time,
        inspected_at=now,
        verdict=Verdict.NOT_INSPECTED,
        latency_ms=_latency_ms(frame),
        reason=error.reason.value,
        detail=error.detail,
        late=_is_late(frame, now, recipe),
    )
    return Outcome(frame=frame, result=result)


def worst_box(inspection: Inspection, size_px: tuple[int, int]) -> Box:
    """The worst patch's cell of the patch grid, on the frame as received, `size_px` (H, W)."""
    return cell_box(inspection.grid, inspection.worst_patch, size_px)


def _latency_ms(frame: Frame) -> float:
    return round((monotonic() - frame.received_s) * 1000, 3)


def _is_late(frame: Frame, now: datetime, recipe: RecipeConfig | None) -> bool:
    if recipe is None or recipe.deadline_s is None:
        return False
    return (now - frame.time).total_seconds() > recipe.deadline_s
