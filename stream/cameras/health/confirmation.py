"""A cause becomes the state of a camera when it has lasted, and health again when that has.

A hand that passes, one damaged picture or the flash of a lamp change nothing; and a cause that goes for a moment does
not end. Which cause it is may change meanwhile: each is counted by itself, and the first of those that last is told.
"""

from collections.abc import Collection, Mapping

from patchline.stream.model.camera_state import CameraState


class Confirmation:
    """Counts how long each cause, and health, has held.

    Args:
        pictures: so many pictures in a row a cause must hold,
        seconds: and for so many seconds.
    """

    def __init__(self, pictures: int, seconds: float) -> None:
        self._pictures, self._seconds = pictures, seconds
        self._runs: dict[CameraState, tuple[int, float]] = {}
        self._state, self._detail = CameraState.OK, ""

    @property
    def begun(self) -> frozenset[CameraState]:
        """Causes that held in the last picture, and the state: these end by wider bounds than they begin."""
        return frozenset(self._runs) | {self._state}

    def next(
        self, causes: Mapping[CameraState, str], at_s: float, lasted: Collection[CameraState] = ()
    ) -> tuple[CameraState, str]:
        """The state after one more picture, and its sentence.

        Args:
            causes: those that hold, each with its sentence, the one that is told first before others.
            at_s: when the picture was taken, on a clock that only rises.
            lasted: causes that are known to have held for long enough, although they are told only now.
        """
        holding = causes or {CameraState.OK: ""}
        self._runs = {
            cause: (self._runs[cause][0] + 1, self._runs[cause][1]) if cause in self._runs else (1, at_s)
            for cause in holding
        }
        for cause, detail in holding.items():
            count, since_s = self._runs[cause]
            if cause is self._state:
                break
            if cause in lasted or (count >= self._pictures and at_s - since_s >= self._seconds):
                self._state, self._detail = cause, detail
                break
        return self._state, self._detail
