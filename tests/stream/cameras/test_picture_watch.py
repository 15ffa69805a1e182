"""Each picture is looked at before it goes to the pipeline, and what was learned is kept."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from patchline.stream.cameras import picture_watch
from patchline.stream.cameras.config import CameraConfig
from patchline.stream.cameras.health.config import HealthConfig
from patchline.stream.cameras.health.motion import Lines
from patchline.stream.cameras.health.reference_files import ReferenceFiles
from patchline.stream.cameras.picture_watch import PictureWatch
from patchline.stream.cameras.video import VideoSource
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.result import Result
from patchline.stream.pipeline import Pipeline
from tests.stream.cameras.health.line import view
from tests.stream.scripted import Recorder, ScriptedEngine, picture


class Told(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.states: list[CameraState] = []
        self.trouble: list[str] = []
        self.all: list[Result] = []

    def pictures(self, camera: str, state: CameraState, detail: str) -> None:
        self.states.append(state)

    def result(self, result: Result) -> None:
        super().result(result)
        self.all.append(result)

    def damaged_file(self, what: Any, where: str, why: str) -> None:
        self.trouble.append(what)

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        self.trouble.append(what)


def watch_of(folder: Path, told: Told, **given: Any) -> PictureWatch:
    config = HealthConfig(camera="a", learns_for_s=30.0, lasts_s=0, **given)
    return PictureWatch(config, ReferenceFiles(folder), Lines(), told.pictures, told)


async def test_a_sick_camera_gives_results_that_say_so_and_no_verdicts(tmp_path: Path) -> None:
    """Frames go in and results come out as ever: the third of one grey is not judged any more."""
    path = tmp_path / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(20):
            image = np.full((64, 96, 3), 60 + 4 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    told = Told()
    source = VideoSource(
        CameraConfig(name="a", recipe="plate", url=str(path)), observer=told, watch=watch_of(tmp_path / "state", told)
    )
    await Pipeline(sources=[source], engine=ScriptedEngine(), sinks=[], observer=told).run()
    assert len(told.all) == 20
    assert [result.reason for result in told.all] == [None] * 2 + ["flat"] * 18
    assert "one grey" in (told.all[-1].detail or "")
    assert told.states == [CameraState.OK] * 2 + [CameraState.FLAT] * 18


async def test_what_was_learned_is_kept_and_a_removed_file_is_learned_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process goes on with it; a damaged file, or a disk that refuses, costs the references alone."""
    monkeypatch.setattr(picture_watch, "ASK_EVERY_S", 0.0)
    monkeypatch.setattr(picture_watch, "SAVE_EVERY_S", 0.0)
    told, files = Told(), ReferenceFiles(tmp_path)
    first = watch_of(tmp_path, told)
    for number in range(80):
        assert await first.look(view(number / 2), number / 2) is None
    learned = files.load("a")
    assert learned is not None
    assert learned.done
    second = watch_of(tmp_path, told)
    flaws = [await second.look(view(number / 2, light=0.4), number / 2) for number in range(4)]
    assert [flaw is not None for flaw in flaws] == [False, False, True, True]
    files.reset("a")
    assert await second.look(view(9.0, light=0.4), 9.0) is not None
    assert [await second.look(view(10.0 + number, light=0.4), 10.0 + number) for number in range(9)] == [None] * 9
    files.path("a").write_bytes(b"{}")
    third = watch_of(tmp_path, told)
    assert await third.look(view(0.0), 0.0) is None
    assert told.trouble == ["camera_references"]
    nowhere = watch_of(tmp_path / "file", told)
    (tmp_path / "file").write_bytes(b"")
    for number in range(10):
        assert await nowhere.look(view(number / 2), number / 2) is None
    assert "references of camera a" in told.trouble


async def test_pictures_that_are_nothing_to_look_at_pass(tmp_path: Path) -> None:
    """Tiny ones."""
    told = Told()
    assert await watch_of(tmp_path, told).look(picture(3), 0.0) is None
