from collections.abc import Iterator

import pytest

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.probe import probe
from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState
from tests.services.faultcam import FaultCam


@pytest.fixture(scope="module")
def cam() -> Iterator[FaultCam]:
    """Cameras of this module."""
    with FaultCam() as server:
        yield server


def config(url: str, open_timeout_s: float = 30) -> CameraConfig:
    return CameraConfig(name="c", recipe="r", url=url, open_timeout_s=open_timeout_s)


@pytest.mark.parametrize(("codec", "b_frames"), [("h264", 0), ("h265", 2)])
def test_what_a_camera_is_is_seen(cam: FaultCam, codec: str, b_frames: int) -> None:
    """Its codec, size, keyframes and B-frames."""
    facts = probe(config(cam.url(f"seen-{codec}", codec=codec, fps=20, gop=5, bf=b_frames)), seconds=1.5)
    assert facts.codec == {"h264": "h264", "h265": "hevc"}[codec]
    assert facts.still.shape == (96, 128, 3)
    assert facts.keyframe_distance in (5, 6)  # with B-frames the order of sending is not that of time
    assert facts.has_b_frames is (b_frames > 0)
    assert facts.per_s is not None
    assert facts.pictures > 1
    assert facts.lost == 0


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("404", CameraState.NOT_FOUND),
        ("no_key", CameraState.NO_PICTURES),
        ("no_video_packets", CameraState.NO_PACKETS),
    ],
)
def test_what_is_the_matter_is_told(cam: FaultCam, fault: str, state: CameraState) -> None:
    """By its state."""
    with pytest.raises(CameraTroubleError) as caught:
        probe(config(cam.url(f"sick-{fault}", fault=fault, at=0, fps=20), 1.0), seconds=0)
    assert caught.value.state is state
