"""Watches each camera for drift: its latest scores, and the mean embeddings of frames sampled among them."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from patchline.engine.inspection.drift import DriftReference
from patchline.engine.types import Image, Inspection
from patchline.stream.inspection.engine import LearningEngine
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import Result
from patchline.stream.ports import Listener

MIN_SCORES = 20
"""Fewer frames say nothing yet."""
EMBEDDINGS = 20
"""Sampled frames in a window."""


@dataclass(slots=True)
class _Camera:
    recipe: str
    scores: deque[float]
    latest: Image | None = None
    embeddings: deque[NDArray[np.float64]] = field(default_factory=lambda: deque(maxlen=EMBEDDINGS))


class DriftWatch(Listener):
    """Notes what was judged, and compares it with calibration as a `SideTask` of the pipeline.

    Args:
        engine: embeds sampled frames, among those that it judges.
        references: calibration by recipe; recipes without one are not watched.
        window: frames of a camera whose scores are compared.
        every_s: a frame of each camera is sampled, and its drift told, so often.
        max_cameras: cameras that are watched, at most.
        observer: told of drift.
    """

    def __init__(
        self,
        engine: LearningEngine,
        references: Mapping[str, DriftReference],
        *,
        window: int,
        every_s: float,
        max_cameras: int,
        observer: Observer,
    ) -> None:
        self._engine = engine
        self._references = references
        self._window, self._every_s, self._max_cameras = window, every_s, max_cameras
        self._observer = observer
        self._cameras: dict[str, _Camera] = {}

    def judged(
        self,
        frame: Frame,
        prepared: Image | None,
        inspection: Inspection | None,
        result: Result,  # noqa: ARG002 - the inspection has the score
    ) -> None:
        """See `Listener`."""
        if inspection is None or frame.recipe not in self._references:
            return
        camera = self._cameras.get(frame.camera)
        if camera is None or camera.recipe != frame.recipe:  # another view has statistics of its own
            if camera is None and len(self._cameras) >= self._max_cameras:
                return
            camera = self._cameras[frame.camera] = _Camera(frame.recipe, deque(maxlen=self._window))
        camera.scores.append(inspection.score)
        camera.latest = prepared

    async def run(self, thread: EngineThread) -> None:
        """Sample and compare until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            for name, camera in list(self._cameras.items()):
                if camera.latest is None:
                    continue
                latest, camera.latest = camera.latest, None
                patches = await thread.among_frames(partial(self._engine.begin_embed, camera.recipe, latest))
                camera.embeddings.append(await asyncio.to_thread(patches.mean, 0, np.float64))
                if len(camera.scores) >= min(MIN_SCORES, self._window):
                    scores, embeddings = np.array(camera.scores), np.stack(camera.embeddings)
                    drift = await asyncio.to_thread(self._references[camera.recipe].compare, scores, embeddings)
                    self._observer.drift(name, camera.recipe, drift)
