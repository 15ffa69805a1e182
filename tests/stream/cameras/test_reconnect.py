import pytest

from patchline.stream.cameras import reconnect
from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.reconnect import Pauses
from patchline.stream.model.camera_state import CameraState
from tests.stream.waiting import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the module."""
    made = Clock()
    monkeypatch.setattr(reconnect, "monotonic", made)
    return made


def pauses() -> Pauses:
    return Pauses(CameraConfig(name="c", recipe="r", url="rtsp://cam/1"))


def test_a_camera_that_is_away_is_asked_every_second(clock: Clock) -> None:
    """However long it is away, and never all cameras at once."""
    made = pauses()
    waited = [made.after(CameraState.UNREACHABLE) for _ in range(200)]
    assert 0.8 <= min(waited) < 0.9
    assert 1.1 < max(waited) <= 1.2
    assert clock.now_s == 100


def test_a_login_that_is_refused_is_tried_seldom(clock: Clock) -> None:
    """From 30 s to 10 minutes, because cameras lock out; a camera that answers 503 up to every 10 s."""
    made = pauses()
    waited = [made.after(CameraState.UNAUTHORISED) for _ in range(12)]
    for pause_s, expected in zip(waited, (30, 60, 120, 240, 480, *(600,) * 7), strict=True):
        assert 0.8 * expected <= pause_s <= 1.2 * expected
    made = pauses()
    waited = [made.after(CameraState.REFUSED) for _ in range(6)]
    for pause_s, expected in zip(waited, (1, 2, 4, 8, 10, 10), strict=True):
        assert 0.8 * expected <= pause_s <= 1.2 * expected
    assert clock.now_s == 100


def test_ten_seconds_of_pictures_make_up_for_everything(clock: Clock) -> None:
    """A connection that held is opened again at once; one that gave a picture and broke is not."""
    made = pauses()
    made.picture()
    clock.now_s += 9
    assert made.after(CameraState.UNREACHABLE) >= 0.8
    made.picture()
    clock.now_s += 11
    made.picture()
    assert made.after(CameraState.UNREACHABLE) <= 0.2
