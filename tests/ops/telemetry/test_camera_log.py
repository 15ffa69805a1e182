"""At most one line a camera in ten seconds, and the last state is always told."""

from structlog.testing import capture_logs

from patchline.ops.telemetry.camera_log import CameraLog
from patchline.stream.model.camera_state import CameraState


def test_a_camera_that_changes_often_has_a_line_now_and_then_and_others_theirs() -> None:
    """What was held back is told as it is by then, with how often it changed."""
    now = 100.0
    with capture_logs() as lines:
        log = CameraLog(clock=lambda: now)
        log.camera_state("a", CameraState.OK, "")
        for _ in range(50):
            log.camera_state("a", CameraState.UNREACHABLE, "no answer")
            log.camera_state("a", CameraState.OK, "")
        log.camera_state("a", CameraState.DARK, "the lamp")
        log.camera_state("b", CameraState.FROZEN, "it repeats")
        now += 9.9
        log.frame_received("c")
        assert [line["camera"] for line in lines] == ["a", "b"]
        now += 0.2
        log.frame_received("c")
        log.frame_received("c")
    assert lines == [
        {"event": "camera", "camera": "a", "state": "ok", "log_level": "info"},
        {"event": "camera", "camera": "b", "state": "frozen", "detail": "it repeats", "log_level": "warning"},
        {
            "event": "camera",
            "camera": "a",
            "state": "dark",
            "detail": "the lamp",
            "changes": "101",
            "log_level": "warning",
        },
    ]
