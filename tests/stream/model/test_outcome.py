from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest

from patchline.engine.types import Verdict
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.limits import RecipeConfig
from patchline.stream.model.outcome import Decoded, judged, not_inspected, worst_box
from patchline.stream.model.result import Box, GenerationRef
from tests.stream.scripted import GENERATION_SHA256, ScriptedEngine, frame, picture

DEADLINE = RecipeConfig(name="plate", deadline_s=10)


def test_the_outcome_of_a_judged_frame() -> None:
    """The result carries score, threshold, generation, worst patch and latency; the outcome keeps the pixels."""
    prepared = picture(200)
    (inspection,) = ScriptedEngine().inspect([("plate", prepared)])
    given = replace(frame("f"), received_s=monotonic() - 2)
    before, before_s = datetime.now(UTC), monotonic()
    made = judged(given, Decoded(prepared, (64, 96)), inspection, None)
    result = made.result
    assert (result.frame_id, result.camera, result.recipe, result.time) == ("f", "cam-1", "plate", given.time)
    assert (result.verdict, result.score, result.threshold) == (Verdict.REJECT, inspection.score, 100.0)
    assert (result.score_ratio, result.p_value) == (inspection.score / 100, 0.01)
    assert result.generation == GenerationRef(number=1, sha256=GENERATION_SHA256)
    assert result.worst == Box(top_px=16, left_px=32, height_px=16, width_px=16)
    assert (result.reason, result.detail, result.late) == (None, None, False)
    assert 2000 <= result.latency_ms < 12000
    assert round(result.latency_ms, 3) == result.latency_ms
    assert before <= result.inspected_at <= datetime.now(UTC)
    assert before_s <= made.judged_s <= monotonic()
    assert made.prepared is prepared
    assert made.inspection is inspection
    assert (made.frame, made.payload_sha256, result.image_sha256) == (given, None, None)
    hashed = replace(given, content_sha256="aF" * 32)
    assert judged(hashed, Decoded(prepared, (64, 96)), inspection, None).result.image_sha256 == "af" * 32


def test_the_outcome_of_a_frame_that_cannot_be_inspected() -> None:
    """The result says why; there is no score, and the hash of the bytes is kept for the dead letter."""
    error = UnreadableError(Reason.TRUNCATED, "it ends early")
    error.sha256 = "a" * 64
    made = not_inspected(frame("f"), error, None)
    assert (made.result.verdict, made.result.reason, made.result.detail) == (
        Verdict.NOT_INSPECTED,
        "truncated",
        "it ends early",
    )
    assert (made.result.score, made.result.threshold, made.result.generation, made.result.worst) == (None,) * 4
    assert (made.result.score_ratio, made.result.p_value) == (None, None)
    assert (made.inspection, made.prepared, made.payload_sha256) == (None, None, "a" * 64)


@pytest.mark.parametrize(
    ("age_s", "recipe", "late"),
    [(11, DEADLINE, True), (5, DEADLINE, False), (10**6, None, False), (10**6, RecipeConfig(name="plate"), False)],
)
def test_a_frame_is_late_after_its_recipes_deadline(age_s: float, recipe: RecipeConfig | None, late: bool) -> None:
    """What counts is when the frame was taken; without a deadline nothing is late."""
    taken = replace(frame("f"), time=datetime.now(UTC) - timedelta(seconds=age_s))
    assert not_inspected(taken, UnreadableError(Reason.EMPTY, ""), recipe).result.late is late


def test_the_worst_patch_lies_on_the_frame_as_received() -> None:
    """The cell of the patch grid is scaled to the frame's own size."""
    (inspection,) = ScriptedEngine().inspect([("plate", picture(200))])
    assert worst_box(inspection, (400, 600)) == Box(top_px=100, left_px=200, height_px=100, width_px=100)
