import time
from dataclasses import replace

import numpy as np
import pytest

from engine.inspection import Verdict
from stream.config import Limits
from stream.errors import Reason, UnreadableError
from stream.frame import Frame
from stream.trial import Trial
from tests.stream.scripted import ScriptedEngine, frame, jpeg


class _Dark(ScriptedEngine):
    """Hangs on a white frame, raises on a grey one."""

    def inspect(self, frames, *, maps="none"):
        mean = frames[0][1].mean()
        if mean > 250:
            time.sleep(600)
        if mean > 120:
            raise RuntimeError("scripted")
        return super().inspect(frames, maps=maps)


def dark(_recipe):
    return _Dark()


def none(_recipe):
    raise SystemExit(3)


def suspect(payload: bytes) -> Frame:
    return replace(frame("f1", payload), crashes=2)


def passes(_frame):
    pass


async def test_a_frame_is_judged_elsewhere_as_here():
    """The other process gives the prepared image and the inspection that the engine would give."""
    payload = jpeg(50)
    decoded, inspection = await Trial(Limits(), dark, check=passes).judge(suspect(payload), payload)
    assert inspection.verdict is Verdict.PASS
    assert decoded.prepared.dtype == np.uint8
    assert decoded.prepared.mean() == pytest.approx(inspection.score)


@pytest.mark.parametrize(
    ("payload", "engine_of", "reason", "detail"),
    [
        (jpeg(50)[:-40], dark, Reason.TRUNCATED, "the JPEG cannot be decoded"),
        (jpeg(255), dark, Reason.POISON, "alone in flight; a process of its own took more than 0.5 s trying it"),
        (jpeg(150), dark, Reason.POISON, "in a process of its own the engine failed: RuntimeError: scripted"),
        (jpeg(50), none, Reason.POISON, "a process of its own died getting ready for it (exit status 3)"),
        (jpeg(50), None, Reason.POISON, "the worker crashed 2 times while it had this frame alone in flight"),
    ],
    ids=["unreadable", "hangs", "raises", "not ready", "nothing to try it with"],
)
async def test_what_comes_of_a_frame_that_is_given_up(payload, engine_of, reason, detail):
    """Its own flaw where it has one; else it is poison, and the detail says what became of the other process."""
    trial = Trial(Limits(), engine_of, check=passes, judge_s=0.5)
    with pytest.raises(UnreadableError, match="") as raised:
        await trial.judge(suspect(payload), payload)
    assert raised.value.reason is reason
    assert detail in raised.value.detail
    assert raised.value.sha256 is not None
