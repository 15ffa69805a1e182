import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.video import VideoSource
from patchline.stream.model.errors import DropCause, SourceError
from patchline.stream.model.limits import Limits
from patchline.stream.model.result import Result
from patchline.stream.pipeline import Pipeline
from patchline.stream.support.deadline import Deadline
from tests.services.rtsp import RtspServer
from tests.stream.scripted import Recorder, ScriptedEngine, picture
from tests.stream.waiting import until


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A video of 40 frames that get brighter, 4 levels a frame."""
    path = tmp_path / "recording.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"g": "5", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(40):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(20 + 4 * number), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


class Results(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[Result] = []

    def result(self, result: Result) -> None:
        super().result(result)
        self.all.append(result)


async def test_a_recording_is_read_whole(recording: Path) -> None:
    """Every frame of a video file is judged once, in order, and then the source ends."""
    seen = Results()
    source = VideoSource(CameraConfig(name="cam-1", recipe="plate", url=str(recording)), observer=seen)
    await Pipeline(
        sources=[source], engine=ScriptedEngine(seconds=0.02), sinks=[], observer=seen, limits=Limits(batch_size=4)
    ).run()
    assert seen.results == [f"cam-1/{number:06}" for number in range(1, 41)]
    scores = [result.score for result in seen.all if result.score is not None]
    assert len(scores) == 40
    assert scores == sorted(scores)
    assert seen.dropped == {}
    assert seen.received == {"cam-1": 40}


async def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file, and one without video, stop the stream with a message."""
    url = str(tmp_path / "missing.mp4")
    with pytest.raises(SourceError, match=r"missing\.mp4 is not there"):
        await _run_to_end(VideoSource(CameraConfig(name="c", recipe="plate", url=url)))
    text = tmp_path / "text.mp4"
    text.write_text("no video at all")
    with pytest.raises(SourceError, match=r"text\.mp4 sends what is no video"):
        await _run_to_end(VideoSource(CameraConfig(name="c", recipe="plate", url=str(text))))


async def _run_to_end(source: VideoSource) -> None:
    await Pipeline(sources=[source], engine=ScriptedEngine(), sinks=[]).run()


def live(url: str, **more: Any) -> CameraConfig:
    fields: dict[str, Any] = {"reconnect_min_s": 0.2, "read_timeout_s": 2.0}
    return CameraConfig(name="cam-1", recipe="plate", url=url, **(fields | more))


async def test_a_live_camera_keeps_the_freshest_frame(rtsp_server: Callable[..., str], recording: Path) -> None:
    """With a slow engine frames are superseded and counted: received = results + drops, and none is read late."""
    url = rtsp_server(recording)
    seen = Results()
    pipeline = Pipeline(
        sources=[VideoSource(live(url), observer=seen)],
        engine=ScriptedEngine(seconds=0.2),
        sinks=[],
        limits=Limits(batch_size=1, max_in_flight=1),
        observer=seen,
    )
    running = asyncio.create_task(pipeline.run())
    await until(lambda: len(seen.results) >= 5)
    await pipeline.drain(Deadline(10))
    await running
    assert seen.connections[0] == ("cam-1", True)
    superseded = seen.dropped["cam-1", DropCause.SUPERSEDED]
    assert superseded >= 5
    assert seen.received["cam-1"] == len(seen.results) + sum(seen.dropped.values())
    assert set(seen.dropped) <= {("cam-1", DropCause.SUPERSEDED), ("cam-1", DropCause.SHUTDOWN)}
    numbers = [int(frame_id.rpartition("/")[2]) for frame_id in seen.results]
    assert numbers == sorted(numbers)
    assert numbers[-1] - numbers[0] >= len(numbers)


async def test_a_camera_that_comes_late_or_back_is_read(recording: Path) -> None:
    """A server that is not there yet is waited for, one that dies is opened again, and nothing stops meanwhile."""
    seen = Recorder()
    with RtspServer() as server:
        url = server.serve(recording, credentials=("operator", "sesame-open"))
        server.stop()
        pipeline = Pipeline(
            sources=[VideoSource(live(url), observer=seen)], engine=ScriptedEngine(), sinks=[], observer=seen
        )
        running = asyncio.create_task(pipeline.run())
        await until(lambda: len(seen.retries) >= 1)
        assert seen.results == []
        await asyncio.to_thread(server.start_again)
        await until(lambda: len(seen.results) >= 5)
        await asyncio.to_thread(server.stop)
        await until(lambda: seen.connections[-1] == ("cam-1", False))
        had = len(seen.results)
        await asyncio.to_thread(server.start_again)
        await until(lambda: len(seen.results) >= had + 5)
        await pipeline.drain(Deadline(10))
        await running
    told = " ".join(f"{what} {error}" for what, error in seen.retries)
    assert "nothing listens at 127.0.0.1" in told
    assert "sesame" not in told
    assert "sesame" not in repr(live(url))


async def test_waiting_frame_is_counted_when_the_stream_is_aborted(
    rtsp_server: Callable[..., str], recording: Path
) -> None:
    """A forced stop counts the frame that the engine has, and the one in the slot."""
    gate, seen = threading.Event(), Recorder()
    pipeline = Pipeline(
        sources=[VideoSource(live(rtsp_server(recording)), observer=seen)],
        engine=ScriptedEngine(gate=gate),
        sinks=[],
        limits=Limits(batch_size=1, max_in_flight=2),
        observer=seen,
    )
    running = asyncio.create_task(pipeline.run())
    await until(lambda: seen.dropped.get(("cam-1", DropCause.SUPERSEDED), 0) > 2)
    await pipeline.drain(Deadline(0.1))
    gate.set()
    await asyncio.gather(running, return_exceptions=True)
    assert seen.results == []
    assert seen.received["cam-1"] == sum(seen.dropped.values())
    assert seen.dropped["cam-1", DropCause.ABORTED] == 1
    assert seen.dropped["cam-1", DropCause.SHUTDOWN] >= 1
