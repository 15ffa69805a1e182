"""Looks at every picture of a camera before it goes to the pipeline, with what earlier processes have learned."""

import asyncio
from collections.abc import Callable
from time import monotonic

from patchline.engine.types import Image
from patchline.stream.cameras.health.camera_health import CameraHealth, Flaw
from patchline.stream.cameras.health.config import HealthConfig
from patchline.stream.cameras.health.motion import Lines
from patchline.stream.cameras.health.reference_files import ReferenceFiles
from patchline.stream.cameras.health.references import Learned
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.observer import Observer

SAVE_EVERY_S = 60.0
"""How much of the first hour a process that is killed takes with it."""
ASK_EVERY_S = 5.0
"""How soon a camera whose references were removed learns anew."""
TellState = Callable[[str, CameraState, str], None]


class PictureWatch:
    """The health of one camera's pictures.

    Args:
        config: what is known of the camera.
        files: where references are kept.
        lines: which cameras of a line move; shared by all cameras.
        told: given the state of the pictures after each of them, on the event loop.
        observer: told of references that cannot be read or written.
    """

    def __init__(
        self,
        config: HealthConfig,
        files: ReferenceFiles,
        lines: Lines,
        told: TellState,
        observer: Observer | None = None,
    ) -> None:
        self._config, self._files, self._lines, self._told = config, files, lines, told
        self._observer = observer or Observer()
        self._health: CameraHealth | None = None
        self._damaged: str | None = None
        self._away: OSError | None = None
        self._saved = self._saved_done = self._failed = False
        self._saved_s = self._asked_s = monotonic()

    async def look(self, image: Image, received_s: float) -> Flaw | None:
        """Why a picture must not be judged; None where it may be.

        Args:
            image: RGB uint8 (H, W, 3); nobody may change it afterwards.
            received_s: the monotonic clock when it came.
        """
        flaw = await asyncio.to_thread(self._look, image, received_s)
        camera, health = self._config.camera, self._health
        if health is not None:
            self._told(camera, health.state, health.detail)
        if self._damaged is not None:
            self._observer.damaged_file("camera_references", str(self._files.path(camera)), self._damaged)
            self._damaged = None
        if self._away is not None:
            self._observer.retrying(f"references of camera {camera}", self._away, 1)
            self._away = None
        return flaw

    # On a thread from here, one picture at a time.

    def _look(self, image: Image, at_s: float) -> Flaw | None:
        if self._health is None:
            self._health = CameraHealth(self._config, self._load(), self._lines)
        flaw = self._health.look(image, at_s)
        self._keep(self._health)
        return flaw

    def _load(self) -> Learned | None:
        try:
            learned = self._files.load(self._config.camera)
        except ValueError as error:
            self._damaged, learned = str(error), None
        except OSError as error:
            self._away, learned = error, None
        self._saved = learned is not None
        self._saved_done = learned is not None and learned.done
        return learned

    def _keep(self, health: CameraHealth) -> None:
        now_s, learned = monotonic(), health.learned
        if self._saved and now_s - self._asked_s >= ASK_EVERY_S:
            self._asked_s = now_s
            if not self._files.path(self._config.camera).exists():
                self._saved = self._saved_done = False
                health.forget()
                return
        if learned is None or not learned.samples or self._saved_done:
            return
        if (learned.done and not self._failed) or now_s - self._saved_s >= SAVE_EVERY_S:
            self._saved_s = now_s
            try:
                self._files.save(learned)
                self._saved, self._saved_done, self._failed = True, learned.done, False
            except OSError as error:  # a full disk, say: tried again after the same time
                self._away, self._failed = error, True
