"""When a camera is tried again."""

import random
from time import monotonic

from patchline.stream.cameras.config import CameraConfig
from patchline.stream.model.camera_state import CameraState

_TRANSPORT = (CameraState.UNREACHABLE, CameraState.NO_PACKETS, CameraState.DAMAGED, CameraState.NO_PICTURES)
_LOCKED_OUT_MIN_S, _LOCKED_OUT_MAX_S = 30.0, 600.0
_JITTER = 0.2
GOOD_S = 10.0
"""After so long of pictures a camera's failures are forgotten."""


class Pauses:
    """Pauses between attempts, in seconds, each up to a fifth longer or shorter, so that cameras do not come at once.

    A camera that is away is asked every `reconnect_min_s`. One that answers and refuses is asked ever more seldom, up
    to `reconnect_max_s`; one that does not take the login from every 30 s to every 10 minutes, because cameras lock out
    who asks often. A connection that gave pictures for ten seconds is opened again at once.
    """

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._failures = 0
        self._state: CameraState | None = None
        self._pictures_since_s: float | None = None

    def picture(self) -> None:
        """There is a picture."""
        if self._pictures_since_s is None:
            self._pictures_since_s = monotonic()

    def after(self, state: CameraState) -> float:
        """How long to wait after a failure."""
        since_s, self._pictures_since_s = self._pictures_since_s, None
        if since_s is not None and monotonic() - since_s >= GOOD_S:
            self._failures, self._state = 0, state
            return random.uniform(0, self._config.reconnect_min_s * _JITTER)  # noqa: S311 - no secret
        self._failures = self._failures + 1 if state is self._state else 1
        self._state = state
        pause_s = self._config.reconnect_min_s
        if state is CameraState.UNAUTHORISED:
            pause_s = min(_LOCKED_OUT_MIN_S * 2 ** min(self._failures - 1, 10), _LOCKED_OUT_MAX_S)
        elif state not in _TRANSPORT:
            pause_s = min(pause_s * 2 ** min(self._failures - 1, 10), self._config.reconnect_max_s)
        return pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
