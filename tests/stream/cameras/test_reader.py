import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.reader import current_url
from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.cameras.video import VideoSource
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import DropCause
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from tests.services.faultcam import FaultCam
from tests.stream.waiting import until


@pytest.fixture(scope="module")
def cam() -> Iterator[FaultCam]:
    """Cameras of this module."""
    with FaultCam() as server:
        yield server


class Watched(Observer):
    """One camera, its frames taken as they come."""

    def __init__(self, url: str, **more: Any) -> None:
        self.states: list[CameraState] = []
        self.details: list[str] = []
        self.connections: list[bool] = []
        self.retries = 0
        self.received = 0
        self.dropped: dict[DropCause, int] = {}
        self.frames: list[Frame] = []
        self.source = VideoSource(CameraConfig(name="c", recipe="r", url=url, **more), observer=self)
        self._task: asyncio.Task[None] | None = None

    def camera_state(self, camera: str, state: CameraState, detail: str) -> None:
        assert camera == "c"
        self.states.append(state)
        self.details.append(detail)

    def camera_connected(self, camera: str, connected: bool) -> None:
        self.connections.append(connected)

    def frame_received(self, camera: str) -> None:
        self.received += 1

    def frame_dropped(self, camera: str, cause: DropCause) -> None:
        self.dropped[cause] = self.dropped.get(cause, 0) + 1

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        self.retries += 1

    async def __aenter__(self) -> "Watched":
        await self.source.open()
        self._task = asyncio.create_task(self._take())
        return self

    async def _take(self) -> None:
        async for frame in self.source:
            self.frames.append(frame)

    async def __aexit__(self, *_: object) -> None:
        await self.source.close()
        assert self._task is not None
        await asyncio.wait([self._task])
        await asyncio.sleep(0.2)
        if not self._task.cancelled():
            self._task.result()


@pytest.fixture
async def healthy(cam: FaultCam) -> AsyncIterator[Watched]:
    """A camera beside the one that fails."""
    async with Watched(cam.url("healthy", fps=20)) as watched:
        yield watched


@pytest.mark.parametrize(
    ("fault", "state", "more"),
    [
        ("404", CameraState.NOT_FOUND, {}),
        ("401", CameraState.UNAUTHORISED, {}),
        ("503", CameraState.REFUSED, {}),
        ("audio_only", CameraState.NO_VIDEO, {}),
        ("silent", CameraState.UNREACHABLE, {"open_timeout_s": 0.5}),
        ("close_at_play", CameraState.UNREACHABLE, {}),
        ("no_video_packets", CameraState.NO_PACKETS, {"read_timeout_s": 1.0}),
        ("freeze", CameraState.NO_PACKETS, {"read_timeout_s": 1.0}),
        ("midframe", CameraState.NO_PACKETS, {"read_timeout_s": 1.0}),
        ("no_key", CameraState.NO_PICTURES, {}),
        ("garbage_nal", CameraState.UNDECODABLE, {}),
        ("garbage_tcp", CameraState.DAMAGED, {}),
        ("rst", CameraState.UNREACHABLE, {}),
        ("lost_key", CameraState.DAMAGED, {}),
    ],
)
async def test_each_fault_has_its_state_and_is_one_cameras_own(
    cam: FaultCam, healthy: Watched, fault: str, state: CameraState, more: dict[str, Any]
) -> None:
    """Nothing is raised, the camera beside goes on, and no sentence has the password in it."""
    url = cam.url(f"fails-{fault}", login="viewer:sesame", fault=fault, fps=10, at=5)
    async with Watched(url, reconnect_min_s=0.1, **more) as watched:
        await until(lambda: state in watched.states)
        had = len(healthy.frames)
        await until(lambda: len(healthy.frames) > had + 5)
    assert watched.states[0] is CameraState.CONNECTING
    assert "sesame" not in " ".join(watched.details)
    assert healthy.connections == [True]


async def test_every_picture_sent_is_a_frame_or_a_drop(cam: FaultCam) -> None:
    """From the first, with those that the decoder holds back at the end: no picture is lost uncounted."""
    async with Watched(cam.url("counted", fps=20, bf=2, fault="close", at=30), reconnect_min_s=600) as watched:
        await until(lambda: CameraState.UNREACHABLE in watched.states)
        await until(lambda: len(watched.frames) + watched.received == 30)
    assert "B-frames" in " ".join(watched.details)
    assert len(cam.sent("counted")) == 30
    assert set(watched.dropped) <= {DropCause.SUPERSEDED}


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_what_rests_on_lost_packets_is_not_judged(cam: FaultCam, transport: str) -> None:
    """Pictures from a loss to the next keyframe are dropped, and the state says so; then it is ok again."""
    url = cam.url(f"loses-{transport}", fault="loss", p=0.05, at=0, fps=40, size="240x320", gop=10)
    async with Watched(url, transport=transport) as watched:
        await until(lambda: watched.dropped.get(DropCause.DAMAGED, 0) >= 20 and len(watched.frames) >= 10)
        await until(lambda: CameraState.OK in watched.states[watched.states.index(CameraState.DAMAGED) :])
    assert ("transport: tcp" in " ".join(watched.details)) is (transport == "udp")
    assert watched.dropped.get(DropCause.UNDECODABLE, 0) == 0


async def test_a_camera_that_is_away_is_found_again(cam: FaultCam) -> None:
    """Its server is killed and started: frames go on, and at most one line in ten seconds was told of it."""
    with FaultCam() as own:
        async with Watched(own.url("away", fps=20), reconnect_min_s=0.1) as watched:
            await until(lambda: len(watched.frames) > 5)
            own.kill()
            await until(lambda: watched.states[-1] is CameraState.UNREACHABLE)
            await asyncio.to_thread(own.start_again)
            had = len(watched.frames)
            await until(lambda: len(watched.frames) > had + 5)
        assert watched.connections[:3] == [True, False, True]
        assert watched.retries == 1
        assert len({frame.frame_id for frame in watched.frames}) == len(watched.frames)


async def test_the_address_is_read_anew_from_its_file(cam: FaultCam, tmp_path: Path) -> None:
    """A password that was changed in the file is used at the next attempt."""
    file = tmp_path / "url"
    wanted = {"login_": "viewer:new-word", "fps": 20}
    file.write_text(cam.url("changed", login="viewer:new-word", **wanted) + "\n")
    async with Watched("rtsp://127.0.0.1:1/old", url_file=file) as watched:
        await until(lambda: len(watched.frames) > 2)
    gone = CameraConfig(name="c", recipe="r", url="rtsp://cam/1", url_file=tmp_path / "gone")
    with pytest.raises(CameraTroubleError, match="url_file"):
        current_url(gone)
