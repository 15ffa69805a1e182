"""The cameras that the service opens itself: made from settings, and changed as other settings say."""

from collections.abc import AsyncIterable, Iterable

from patchline.ops.service.settings_change import SettingsChange
from patchline.ops.settings.cameras import FolderCamera, RtspCamera, VideoCamera
from patchline.ops.settings.model import Settings
from patchline.ops.telemetry.metrics import Metrics
from patchline.stream.cameras.board import CameraBoard
from patchline.stream.cameras.folder import FolderSource
from patchline.stream.cameras.health.motion import Lines
from patchline.stream.cameras.health.reference_files import ReferenceFiles
from patchline.stream.cameras.picture_watch import PictureWatch
from patchline.stream.cameras.states import CameraStates
from patchline.stream.cameras.video import VideoSource
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Fan, Observer
from patchline.stream.pipeline import Pipeline


class LiveCameras:
    """Makes sources of cameras, and joins what is known of each.

    Args:
        settings: name the cameras.
        metrics: show each from the start.
        told: those who are told of cameras' states and of all else.
    """

    def __init__(self, settings: Settings, metrics: Metrics, *told: Observer) -> None:
        opened = settings.opened_cameras()
        self._metrics = metrics
        self._metrics.expect(list(settings.cameras), opened)
        self.board = CameraBoard(opened)
        # Two steps: what joins the states of cameras tells it to all others, and looks at results itself.
        others = Fan(metrics, *told, self.board)
        self._states = CameraStates(opened, others)
        self.observer: Observer = Fan(others, self._states)
        """Tells all."""
        self._lines = Lines()
        self._sources: dict[str, AsyncIterable[Frame]] = {}

    def open(self, settings: Settings) -> list[AsyncIterable[Frame]]:
        """The sources of all cameras."""
        self._sources = self._made(settings, settings.cameras)
        return list(self._sources.values())

    async def change(self, settings: Settings, change: SettingsChange, pipeline: Pipeline) -> None:
        """Let live cameras come and go; one that changed is closed before it is opened anew."""
        gone = [self._sources.pop(name) for name in (*change.changed, *change.removed)]
        for name in change.removed:
            self.board.forget(name)
            self._states.forget(name)
            self._metrics.forget(name)
        for name in change.added:
            self.board.expect(name)
            self._states.expect(name)
        self._metrics.expect(list(change.added), change.added)
        new = self._made(settings, (*change.changed, *change.added))
        self._sources |= new
        await pipeline.change_sources(gone, list(new.values()))

    def _made(self, settings: Settings, names: Iterable[str]) -> dict[str, AsyncIterable[Frame]]:
        sources: dict[str, AsyncIterable[Frame]] = {}
        health, files = settings.health_configs(), ReferenceFiles(settings.health.folder)
        for name in names:
            camera = settings.cameras[name]
            if isinstance(camera, RtspCamera | VideoCamera):
                watch = None
                if name in health:
                    watch = PictureWatch(health[name], files, self._lines, self._states.pictures, self.observer)
                config = camera.to_config(name, settings.limits.max_pixels)
                sources[name] = VideoSource(config, observer=self._states.of_reader(self.observer), watch=watch)
            elif isinstance(camera, FolderCamera):
                sources[name] = FolderSource(camera.to_config(name))
        return sources
