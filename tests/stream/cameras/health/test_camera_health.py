"""One picture in, a flaw or nothing out."""

from collections.abc import Callable

import cv2
import msgspec
import numpy as np
import pytest

from patchline.engine.types import Image
from patchline.stream.cameras.health.camera_health import CameraHealth
from patchline.stream.cameras.health.config import SICK, HealthConfig
from patchline.stream.cameras.health.motion import Lines
from patchline.stream.cameras.health.references import Learned
from patchline.stream.model.camera_state import CameraState
from tests.stream.cameras.health.line import HOUR_S, SIZE_PX, taught, view


def covered(at_s: float) -> Image:
    picture = view(at_s)
    picture[:, : SIZE_PX[1] * 6 // 10] = 30
    return picture


def moved(at_s: float) -> Image:
    return np.roll(view(at_s, fixture=True), 8, axis=1)


SICK_VIEWS: dict[CameraState, Callable[[float], Image]] = {
    CameraState.BLACK: lambda at_s: view(at_s, light=0.02),
    CameraState.SATURATED: lambda at_s: view(at_s, light=9),
    CameraState.FLAT: lambda at_s: np.full_like(view(at_s), 90),
    CameraState.DARK: lambda at_s: view(at_s, light=0.5),
    CameraState.COVERED: covered,
    CameraState.BLURRED: lambda at_s: np.asarray(cv2.GaussianBlur(view(at_s), (0, 0), 3), np.uint8),
    CameraState.MOVED: moved,
    CameraState.WRONG_SIZE: lambda at_s: view(at_s)[:-16],
    CameraState.FROZEN: lambda _: view(0.0),
}


def test_every_sick_state_is_shown() -> None:
    """One of those below is each of them."""
    assert SICK_VIEWS.keys() == SICK.keys()


@pytest.mark.parametrize("every_s", [0.1, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("state", SICK_VIEWS)
def test_a_sick_camera_is_named_in_time_and_clears_by_itself(state: CameraState, every_s: float) -> None:
    """Within three pictures or two seconds, whichever is later: at ten a second, and at one in four seconds."""
    health = taught(fixture=state is CameraState.MOVED)
    fixture = state is CameraState.MOVED
    at_s = 0.0
    for _ in range(3):
        at_s += every_s
        assert health.look(view(at_s, fixture=fixture), at_s) is None
    first_s, pictures = at_s + every_s, 0
    while True:
        at_s, pictures = at_s + every_s, pictures + 1
        flaw = health.look(SICK_VIEWS[state](at_s), at_s)
        if flaw is not None:
            break
        # The first of equal pictures is new: nothing could tell it.
        assert pictures - (state is CameraState.FROZEN) < 3 or at_s - first_s < 2.0 + every_s
    assert (health.state, flaw.reason.value) == (state, state.value)
    assert health.detail == flaw.detail
    for _ in range(40):
        at_s += every_s
        flaw = health.look(view(at_s, fixture=fixture), at_s)
    assert (flaw, health.state) == (None, CameraState.OK)


TWIN_VIEWS: dict[str, Callable[[float], Image]] = {
    "brighter and darker": lambda at_s: view(at_s, light=1 + 0.2 * np.sin(at_s)),
    "flicker": lambda at_s: view(at_s, light=0.85 if int(at_s * 10) % 2 else 1.1),
    "no parts": lambda at_s: view(at_s, parts=False),
    "faster": lambda at_s: view(at_s * 3),
    "a hand that passes": lambda at_s: covered(at_s) if at_s % 10 < 1 else view(at_s),
}


@pytest.mark.parametrize("twin", TWIN_VIEWS)
def test_a_healthy_camera_is_let_be(twin: str) -> None:
    """For a minute, at ten pictures a second."""
    health = taught()
    for number in range(600):
        assert health.look(TWIN_VIEWS[twin](number / 10), number / 10) is None
        assert health.state is CameraState.OK


def test_pictures_that_repeat_are_still_and_judged_where_nobody_knows_that_the_line_runs() -> None:
    """A camera that had repeated pictures in its first hour: a stopped line under H.264 looks so."""
    health = CameraHealth(HealthConfig(camera="a", learns_for_s=HOUR_S))
    for number in range(130):
        health.look(view(max(0, number - 3)), float(number))
    last = view(200.0)
    states = []
    for number in range(20):
        assert health.look(last, 200 + number / 2) is None
        states.append(health.state.value)
    assert states == ["ok"] * 4 + ["still"] * 16
    assert health.look(view(300.0), 211.0) is None
    assert health.state is CameraState.OK


def test_the_line_is_known_to_run_by_another_camera_that_moves() -> None:
    """Motion that may have been before the pictures began to repeat tells nothing; a line of another name neither."""
    for moves_s, line, expected in ((100.2, "l", "still"), (101.2, "m", "still"), (101.2, "l", "frozen")):
        lines = Lines()
        health = CameraHealth(HealthConfig(camera="a", line="l"), lines=lines)
        for number in range(20):
            health.look(view(float(number)), 90.0 + number / 2)
        for number in range(8):
            health.look(view(50.0), 99.5 + number / 2)
            lines.moved(line, "b", moves_s)
            lines.moved("l", "a", 103.0)
        assert health.state.value == expected


def test_a_line_that_always_runs_needs_no_first_hour() -> None:
    """Two pictures are enough to compare."""
    health = CameraHealth(HealthConfig(camera="a", always_runs=True))
    states = [health.look(view(1.0), number / 2) and health.state for number in range(8)]
    assert states[:4] == [None] * 4
    assert states[-1] is CameraState.FROZEN


def test_before_the_hour_is_over_only_what_no_scene_can_be_is_told() -> None:
    """And what is sick teaches nothing."""
    health = CameraHealth(HealthConfig(camera="a", learns_for_s=HOUR_S))
    for number in range(10):
        assert health.look(view(float(number), light=0.5), float(number)) is None
    for number in range(10):
        health.look(view(float(number), light=0.0), 10.0 + number)
    assert health.state is CameraState.BLACK
    assert health.learned is not None
    assert health.learned.pictures < 10


def test_a_line_that_stands_still_teaches_nothing() -> None:
    """A night before the shift is not the camera's first hour."""
    health = CameraHealth(HealthConfig(camera="a", learns_for_s=HOUR_S))
    for number in range(2_000):
        health.look(view(number, parts=False), float(number))
    assert health.learned is not None
    assert not health.learned.done
    assert health.learned.seconds < HOUR_S


def test_states_that_are_in_order_here_are_no_flaws() -> None:
    """The settings say so."""
    health = taught(ignores=frozenset({CameraState.DARK}))
    for number in range(20):
        assert health.look(view(number / 2, light=0.5), number / 2) is None
    with pytest.raises(Exception, match=r"ignores has ok, expected some of: wrong_size, black"):
        HealthConfig(camera="a", ignores=frozenset({CameraState.OK}))


def test_what_was_learned_outlives_the_process_under_the_same_settings() -> None:
    """Other settings learn anew; so does a camera that is told to forget."""
    kept = msgspec.json.encode(taught(settings="one").learned)
    for settings, state in (("one", CameraState.DARK), ("two", CameraState.OK)):
        config = HealthConfig(camera="a", learns_for_s=HOUR_S, settings=settings)
        health = CameraHealth(config, msgspec.json.decode(kept, type=Learned))
        for number in range(10):
            health.look(view(number / 2, light=0.5), number / 2)
        assert health.state is state
        health.forget()
        assert health.look(view(9.0, light=0.5), 9.0) is None


def test_tiny_pictures_are_let_be() -> None:
    """They have too few pixels to tell."""
    assert CameraHealth(HealthConfig(camera="a")).look(np.zeros((8, 8, 3), np.uint8), 0.0) is None
