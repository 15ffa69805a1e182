import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from patchline.engine.types import Image, Inspection, Verdict
from patchline.stream.inspection.engine import Maps
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.limits import Limits
from patchline.stream.model.outcome import Decoded
from patchline.stream.pipeline.isolated_trial import EngineOf, IsolatedTrial
from tests.stream.scripted import ScriptedEngine, frame, jpeg


class _Dark(ScriptedEngine):
    """Hangs on a white frame."""

    def inspect(self, frames: Sequence[tuple[str, Image]], *, maps: Maps = "none") -> list[Inspection]:
        if frames[0][1].mean() > 250:
            time.sleep(600)
        return super().inspect(frames, maps=maps)


def dark(_recipe: str) -> ScriptedEngine:
    return _Dark()


async def tried(payload: bytes, engine_of: EngineOf | None) -> tuple[Decoded, Inspection]:
    suspect = replace(frame("f1", payload), crashes=2)
    return await IsolatedTrial(Limits(), engine_of, check=lambda _: None, judge_s=2).judge(suspect, payload)


async def test_a_frame_is_judged_elsewhere_as_here_and_what_cannot_be_is_given_up() -> None:
    """Its own flaw where it has one; else it is poison, and the detail says what became of the other process."""
    given_up = [
        (jpeg(50)[:-40], dark, Reason.TRUNCATED, "the JPEG cannot be decoded"),
        (jpeg(255), dark, Reason.POISON, "alone in flight; a process of its own took more than 2 s trying it"),
        (jpeg(50), None, Reason.POISON, "the worker crashed 2 times while it had this frame alone in flight"),
    ]
    trying = [tried(payload, engine_of) for payload, engine_of, *_ in given_up]
    whole = asyncio.create_task(tried(jpeg(50), dark))
    errors = await asyncio.gather(*trying, return_exceptions=True)
    decoded, inspection = await whole
    assert inspection.verdict is Verdict.PASS
    assert decoded.prepared.dtype == np.uint8
    assert decoded.prepared.mean() == pytest.approx(inspection.score)
    for error, (_, _, reason, detail) in zip(errors, given_up, strict=True):
        assert isinstance(error, UnreadableError), error
        assert error.reason is reason
        assert detail in error.detail
        assert error.sha256 is not None
