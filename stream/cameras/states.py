"""One state a camera, of three who know a part of it: its reader, the health of its pictures, and its results."""

from collections.abc import Callable, Iterable

from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.observer import Fan, Observer
from patchline.stream.model.result import Result

LATE_AFTER = 3
"""So many results in a row after their deadline make a camera late,"""
IN_TIME_AFTER = 10
"""and so many in time end it."""
_CONNECTING = (CameraState.CONNECTING, "")
_OK = (CameraState.OK, "")


class CameraStates(Observer):
    """Joins what is known of each camera, and tells `Observer.camera_state` of every change.

    As long as the reader has no pictures, its state is the camera's; then that of the pictures; then whether results
    are late.

    Args:
        cameras: those that the service opens itself; each is `connecting` from the start.
        observer: told of every change.
    """

    def __init__(self, cameras: Iterable[str], observer: Observer) -> None:
        self._observer = observer
        self._reader: dict[str, tuple[CameraState, str]] = {}
        self._pictures: dict[str, tuple[CameraState, str]] = {}
        self._late: dict[str, int] = {}
        self._is_late: dict[str, bool] = {}
        self._shown: dict[str, tuple[CameraState, str]] = {}
        for camera in cameras:
            self.expect(camera)

    def expect(self, camera: str) -> None:
        """A camera is opened from now on; it is connecting."""
        self._reader[camera] = self._shown[camera] = _CONNECTING
        self._pictures[camera], self._late[camera], self._is_late[camera] = _OK, 0, False

    def forget(self, camera: str) -> None:
        """A camera is opened no more: whatever its reader still says is passed over."""
        for known in (self._reader, self._pictures, self._late, self._is_late, self._shown):
            known.pop(camera, None)

    def of_reader(self, observer: Observer) -> Observer:
        """What the reader of a camera is to tell: all of it reaches `observer`, but states, which are joined first."""
        return _ReaderStates(observer, self._reader_told)

    def pictures(self, camera: str, state: CameraState, detail: str) -> None:
        """The pictures of a camera are `ok`, `still` or sick."""
        if camera in self._pictures:
            self._pictures[camera] = state, detail
            self._show(camera)

    def result(self, result: Result) -> None:
        """See `Observer`."""
        camera = result.camera
        if camera not in self._late:
            return
        # Above 0: so many late ones in a row; below: so many in time.
        run = self._late[camera]
        self._late[camera] = run = max(run, 0) + 1 if result.late else min(run, 0) - 1
        if run >= LATE_AFTER or run <= -IN_TIME_AFTER:
            self._is_late[camera] = run > 0
            self._show(camera)

    def _reader_told(self, camera: str, state: CameraState, detail: str) -> None:
        if camera in self._reader:
            self._reader[camera] = state, detail
            self._show(camera)

    def _show(self, camera: str) -> None:
        state, detail = self._reader[camera]
        if state is CameraState.OK:
            state, detail = self._pictures[camera]
        if state is CameraState.OK and self._is_late[camera]:
            state, detail = CameraState.LATE, "results come after their recipe's deadline"
        if state is not self._shown[camera][0]:
            self._shown[camera] = state, detail
            self._observer.camera_state(camera, state, detail)


class _ReaderStates(Fan):
    def __init__(self, observer: Observer, told: Callable[[str, CameraState, str], None]) -> None:
        super().__init__(observer)
        self._told, self._says_states = told, False
        self._forward_connected = self.camera_connected
        self.camera_state = self._state  # type: ignore[method-assign]
        self.camera_connected = self._connected  # type: ignore[method-assign]

    def _state(self, camera: str, state: CameraState, detail: str) -> None:
        self._says_states = True
        self._told(camera, state, detail)

    def _connected(self, camera: str, connected: bool) -> None:
        self._forward_connected(camera, connected)
        if not self._says_states:  # all that this reader says of it
            self._told(camera, CameraState.OK if connected else CameraState.CONNECTING, "")
