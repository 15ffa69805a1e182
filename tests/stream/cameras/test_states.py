"""One state a camera: its reader first, then its pictures, then whether results are late."""

from datetime import UTC, datetime

from patchline.engine.types import Verdict
from patchline.stream.cameras.states import IN_TIME_AFTER, LATE_AFTER, CameraStates
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import Result


class Told(Observer):
    def __init__(self) -> None:
        self.states: list[tuple[str, CameraState]] = []
        self.received: list[str] = []

    def camera_state(self, camera: str, state: CameraState, detail: str) -> None:
        self.states.append((camera, state))

    def frame_received(self, camera: str) -> None:
        self.received.append(camera)


def result(*, late: bool, camera: str = "a") -> Result:
    now = datetime.now(UTC)
    return Result(
        frame_id="f",
        camera=camera,
        recipe="r",
        time=now,
        inspected_at=now,
        verdict=Verdict.PASS,
        latency_ms=1.0,
        late=late,
    )


def test_pictures_count_while_the_reader_has_some() -> None:
    """A camera that is away is away whatever its last picture was; what was sick is sick again when it is back."""
    told = Told()
    states = CameraStates(["a", "b"], told)
    reader = states.of_reader(told)
    reader.camera_state("a", CameraState.OK, "")
    states.pictures("a", CameraState.DARK, "the lamp")
    states.pictures("a", CameraState.DARK, "the lamp, still")
    reader.camera_state("a", CameraState.UNREACHABLE, "no answer")
    states.pictures("a", CameraState.DARK, "a picture that was under way")
    reader.camera_state("a", CameraState.OK, "")
    states.pictures("a", CameraState.OK, "")
    reader.camera_state("a", CameraState.OK, "")
    states.pictures("stranger", CameraState.DARK, "")
    reader.camera_state("stranger", CameraState.OK, "")
    assert [state.value for _, state in told.states] == ["ok", "dark", "unreachable", "dark", "ok"]
    assert {camera for camera, _ in told.states} == {"a"}


def test_all_else_of_a_reader_goes_straight_on_and_a_connection_is_a_state_of_one_that_tells_no_other() -> None:
    """Frames are told as ever."""
    told = Told()
    states = CameraStates(["a", "b"], told)
    plain, exact = states.of_reader(told), states.of_reader(told)
    plain.frame_received("a")
    plain.camera_connected("a", True)
    plain.camera_connected("a", False)
    exact.camera_state("b", CameraState.DNS, "no such name")
    exact.camera_connected("b", False)
    assert told.received == ["a"]
    assert [(camera, state.value) for camera, state in told.states] == [("a", "ok"), ("a", "connecting"), ("b", "dns")]


def test_a_camera_is_late_while_its_results_are() -> None:
    """Some in a row make it late, more in a row end it; one alone does neither."""
    told = Told()
    states = CameraStates(["a"], told)
    states.of_reader(told).camera_state("a", CameraState.OK, "")
    for late in [True] * (LATE_AFTER - 1) + [False] + [True] * (LATE_AFTER - 1):
        states.result(result(late=late))
    assert told.states == [("a", CameraState.OK)]
    states.result(result(late=True))
    for late in [False] * (IN_TIME_AFTER - 1) + [True] + [False] * (IN_TIME_AFTER - 1):
        states.result(result(late=late))
    assert told.states[1:] == [("a", CameraState.LATE)]
    states.result(result(late=False))
    states.result(result(late=True, camera="another"))
    assert told.states[2:] == [("a", CameraState.OK)]
