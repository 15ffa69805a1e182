"""Log lines of cameras: every change of a state, but at most one line a camera in ten seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import structlog

from patchline.stream.model.camera_event import HEALTHY_STATES
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.observer import Observer

EVERY_S = 10.0
"""At most one line a camera in so many seconds. What changed meanwhile is told then, as it is at that time."""


@dataclass(slots=True)
class _Told:
    at_s: float
    waiting: tuple[CameraState, str] | None = None
    changes: int = 0


class CameraLog(Observer):
    """Logs the states of cameras.

    What is held back is written with the next change or frame of any camera.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._log = structlog.get_logger("patchline")
        self._clock = clock
        self._told: dict[str, _Told] = {}
        self._waiting = 0

    def camera_state(self, camera: str, state: CameraState, detail: str) -> None:
        """See `Observer`."""
        now = self._clock()
        told = self._told.get(camera)
        if told is None:
            told = self._told[camera] = _Told(now - EVERY_S)
        told.changes += 1
        self._waiting += told.waiting is None
        told.waiting = state, detail
        self._write_what_waits(now)

    def frame_received(self, camera: str) -> None:  # noqa: ARG002 - any frame will do
        """See `Observer`."""
        if self._waiting:
            self._write_what_waits(self._clock())

    def _write_what_waits(self, now: float) -> None:
        for camera, told in self._told.items():
            if told.waiting is None or now - told.at_s < EVERY_S:
                continue
            (state, detail), changes = told.waiting, told.changes
            self._waiting -= 1
            told.waiting, told.changes = None, 0
            told.at_s = now
            more = {"detail": detail} if detail else {}
            more |= {"changes": str(changes)} if changes > 1 else {}
            calm = state in HEALTHY_STATES or state is CameraState.CONNECTING
            (self._log.info if calm else self._log.warning)("camera", camera=camera, state=state.value, **more)
