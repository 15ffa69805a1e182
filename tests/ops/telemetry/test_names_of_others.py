"""However many names others think up, series, lines and what is remembered of them stay bounded."""

import msgspec
import pytest
from structlog.testing import capture_logs

from patchline.ops.telemetry.camera_labels import OTHER
from patchline.ops.telemetry.frame_metrics import MAX_RETRIED
from patchline.ops.telemetry.log_observer import MAX_SUBJECTS, OTHERS, REPEAT_AFTER_S, LogObserver
from patchline.ops.telemetry.metrics import Metrics
from patchline.stream.model.errors import AlarmGap, DropCause, Reason, SourceUnavailableError
from patchline.stream.model.feedback import FeedbackOutcome, FeedbackReply
from patchline.stream.model.observer import Fan
from tests.ops.telemetry.test_log_observer import NOW, Clock, result

NAMES = 5_000
MAX_CAMERAS = 50


def test_names_cost_no_more_than_their_bounds() -> None:
    """Cameras, frames, recipes and things away, each under a name of its own."""
    metrics, clock = Metrics(max_cameras=MAX_CAMERAS, process=False), Clock()
    log = LogObserver(clock=clock)
    seen, broken = Fan(metrics, log), result(reason=Reason.CORRUPT.value, detail="it is broken")
    with capture_logs() as lines:
        for number in range(NAMES):
            name = f"{number}-" + "n" * 500
            seen.frame_received(name)
            seen.result(msgspec.structs.replace(broken, camera=name))
            seen.frame_dropped(name, DropCause.SUPERSEDED)
            seen.retrying(f"storage of {name}", SourceUnavailableError("away"), 1)
            seen.alarm_gap(AlarmGap.EXPIRED, 1)
            seen.evidence(name, "dropped")
            clock.now_s += 0.001
    series = [sample for family in metrics.registry.collect() for sample in family.samples]
    assert len(series) < 100 + 12 * MAX_CAMERAS + 2 * MAX_RETRIED
    away = {sample.labels["what"]: sample.value for sample in series if sample.name == "patchline_retries_total"}
    assert (len(away), away[OTHER]) == (MAX_RETRIED + 1, NAMES - MAX_RETRIED)
    received = [sample.value for sample in series if sample.name == "patchline_frames_received_total"]
    assert (len(received), sum(received)) == (MAX_CAMERAS + 1, NAMES)
    assert len(lines) <= 5 * (MAX_SUBJECTS + 2)
    assert sum(line["subject"] == OTHERS for line in lines) == 4
    assert len(log._last) <= 5 * (MAX_SUBJECTS + 2)
    assert max(len(subject) for _, subject in log._last) < 400


def test_what_is_told_with_the_others_is_counted() -> None:
    """The next line of the others says how many there were; those with a line of their own keep it."""
    clock = Clock()
    log = LogObserver(clock=clock)
    with capture_logs() as lines:
        for number in range(MAX_SUBJECTS + 11):
            log.frame_dropped(f"camera-{number}", DropCause.SUPERSEDED)
        log.frame_dropped("camera-0", DropCause.SUPERSEDED)
        clock.now_s += REPEAT_AFTER_S
        log.frame_dropped("camera-0", DropCause.SUPERSEDED)
        for number in range(MAX_SUBJECTS):
            log.frame_dropped(f"another-{number}", DropCause.SUPERSEDED)
        log.frame_dropped("one more", DropCause.SUPERSEDED)
    subjects = [line["subject"] for line in lines]
    assert subjects[: MAX_SUBJECTS + 2] == [*(f"camera-{n}" for n in range(MAX_SUBJECTS)), OTHERS, "camera-0"]
    assert lines[MAX_SUBJECTS + 1]["and_before"] == 1
    assert subjects[-1] == OTHERS
    assert lines[-1]["and_before"] == 10


@pytest.mark.parametrize("recipe", ["plate", "anything"])
def test_recipes_that_are_not_here_are_one_series(recipe: str) -> None:
    """Feedback may ask for any."""
    metrics = Metrics(process=False)
    reply = FeedbackReply(feedback_id="f", recipe=recipe, outcome=FeedbackOutcome.REFUSED, time=NOW)
    metrics.feedback(reply)
    assert metrics.registry.get_sample_value("patchline_feedback_total", {"recipe": OTHER, "outcome": "refused"}) == 1
