"""Live cameras that come, go and change: which are opened and closed, and what is known of each meanwhile."""

from collections.abc import AsyncIterable, Sequence
from typing import Any

from patchline.ops.service.live_cameras import LiveCameras
from patchline.ops.service.settings_change import change_between
from patchline.ops.settings.model import Settings
from patchline.ops.telemetry.metrics import Metrics
from patchline.stream.cameras.video import VideoSource
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.frame import Frame
from patchline.stream.pipeline import Pipeline
from tests.stream.scripted import ScriptedEngine


class Changes(Pipeline):
    """A pipeline that only says what it is given."""

    def __init__(self) -> None:
        super().__init__(sources=[], engine=ScriptedEngine(), sinks=[])
        self.changes: list[tuple[list[str], list[str]]] = []

    async def change_sources(self, gone: Sequence[AsyncIterable[Frame]], new: Sequence[AsyncIterable[Frame]]) -> None:
        self.changes.append((names(gone), names(new)))


def names(sources: Sequence[AsyncIterable[Frame]]) -> list[str]:
    return [str(source.live_camera) for source in sources if isinstance(source, VideoSource)]


def settings(*cameras: str, **more: dict[str, Any]) -> Settings:
    made = {name: {"source": "rtsp", "recipe": "tile", "url": f"rtsp://host/{name}"} for name in cameras} | more
    return Settings.model_validate({"recipes": {"tile": {"bank": "banks/tile"}}, "cameras": made})


async def test_only_what_changed_is_closed_and_opened() -> None:
    """Each camera that is opened is known from the start, as connecting; one that has gone is known no more."""
    old, metrics, pipeline = settings("stays", "goes", "turns"), Metrics(), Changes()
    cameras = LiveCameras(old, metrics)
    assert names(cameras.open(old)) == ["stays", "goes", "turns"]
    cameras.observer.camera_state("stays", CameraState.OK, "")
    turned = {"source": "rtsp", "recipe": "tile", "url": "rtsp://host/other"}
    new = settings("stays", "comes", turns=turned)
    await cameras.change(new, change_between(old, new), pipeline)
    assert pipeline.changes == [(["turns", "goes"], ["turns", "comes"])]
    assert {status.camera: status.state for status in cameras.board.cameras()} == {
        "stays": CameraState.OK,
        "comes": CameraState.CONNECTING,
        "turns": CameraState.CONNECTING,
    }
    shown = {
        sample.labels["camera"]
        for family in metrics.registry.collect()
        if family.name == "patchline_camera_state"
        for sample in family.samples
    }
    assert shown == {"stays", "comes", "turns"}
    await cameras.change(old, change_between(new, old), pipeline)
    assert pipeline.changes[1:] == [(["turns", "comes"], ["turns", "goes"])]
