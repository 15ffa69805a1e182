"""What cameras do now, and their changes as events."""

from datetime import UTC, datetime

from patchline.engine.types import Verdict
from patchline.stream.cameras.board import CameraBoard
from patchline.stream.model.camera_event import CameraEvent
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import DropCause
from patchline.stream.model.result import Result


def result(verdict: Verdict, reason: str | None = None) -> Result:
    now = datetime.now(UTC)
    return Result(
        frame_id="f",
        camera="a",
        recipe="r",
        time=now,
        inspected_at=now,
        verdict=verdict,
        latency_ms=1.0,
        reason=reason,
    )


def test_a_camera_has_counts_its_last_picture_and_its_state() -> None:
    """Received is the sum of what became of frames; strangers are left out."""
    now = 10.0
    board = CameraBoard(["b", "a"], clock=lambda: now)
    for _ in range(5):
        board.frame_received("a")
    board.frame_received("stranger")
    board.frame_dropped("a", DropCause.SUPERSEDED)
    board.result(result(Verdict.PASS))
    board.result(result(Verdict.REJECT))
    board.result(result(Verdict.NOT_INSPECTED, "dark"))
    board.result(result(Verdict.NOT_INSPECTED, "dark"))
    now = 12.5
    one, other = board.cameras()
    assert (one.camera, other.camera) == ("a", "b")
    assert (one.state, one.last_picture_age_s, other.last_picture_age_s) == (CameraState.CONNECTING, 2.5, None)
    counts = one.counts
    assert counts.received == counts.passed + counts.rejected + counts.not_inspected + counts.dropped == 5
    assert (counts.not_inspected_by_reason, counts.dropped_by_cause) == ({"dark": 2}, {"superseded": 1})
    assert board.camera("a") == one
    assert board.camera("stranger") is None


def test_changes_are_events_and_the_alarm_lasts_from_the_first_sick_state_to_health() -> None:
    """Connecting again does not end it."""
    events: list[CameraEvent] = []
    board = CameraBoard(["a"], [events.append])
    told = ("ok", "dark", "unreachable", "connecting", "ok", "connecting", "still")
    for state in told:
        board.camera_state("a", CameraState(state), f"it is {state}")
    board.camera_state("stranger", CameraState.DARK, "")
    assert [event.state.value for event in events] == list(told)
    assert [event.before.value for event in events] == ["connecting", *told[:-1]]
    assert [event.alarm for event in events] == [False, True, True, True, False, False, False]
    status = board.camera("a")
    assert status is not None
    assert (status.state, status.detail, status.since) == (CameraState.STILL, "it is still", events[-1].time)
