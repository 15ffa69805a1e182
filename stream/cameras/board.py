"""What every camera that the service opens itself is doing now, for whoever asks, and its changes as events."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated

import msgspec

from patchline.engine.types import Verdict
from patchline.stream.model.camera_event import CameraEvent, alarms_in
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import MAX_DETAIL_CHARACTERS, DropCause
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import Result


class CameraCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of a camera since the worker started. At rest `received` is the sum of the others."""

    received: int
    passed: int
    rejected: int
    not_inspected: int
    dropped: int
    not_inspected_by_reason: dict[str, int]
    dropped_by_cause: dict[str, int]


class CameraStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A camera as it is now."""

    camera: str
    state: CameraState
    since: datetime
    detail: str
    """A sentence: what was found; empty where all is well."""
    alarm: bool
    """Whether its health alarm is raised."""
    last_picture_age_s: Annotated[float, msgspec.Meta(ge=0)] | None
    """Seconds since a picture came; None: none has come."""
    counts: CameraCounts


class CameraBoard(Observer):
    """Keeps the status of each camera.

    Args:
        cameras: those that the service opens itself.
        events: given every change of a state, on the event loop; must return at once.
        clock: seconds on a clock that only rises.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        events: Iterable[Callable[[CameraEvent], None]] = (),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = clock
        self.events = list(events)
        """Who is given the changes."""
        self._cameras: dict[str, _KeptCamera] = {}
        for name in cameras:
            self.expect(name)

    def expect(self, camera: str) -> None:
        """A camera is opened from now on; it is connecting."""
        self._cameras[camera] = _KeptCamera(datetime.now(UTC))

    def forget(self, camera: str) -> None:
        """A camera is opened no more. An alarm of its health ends with it."""
        if camera in self._cameras:
            self.camera_state(camera, CameraState.OK, "")
            del self._cameras[camera]

    def cameras(self) -> list[CameraStatus]:
        """Every camera, in order of name."""
        return [self._status(name, self._cameras[name]) for name in sorted(self._cameras)]

    def camera(self, name: str) -> CameraStatus | None:
        """One camera; None where there is none of that name."""
        return self._status(name, self._cameras[name]) if name in self._cameras else None

    def camera_state(self, camera: str, state: CameraState, detail: str) -> None:
        """See `Observer`."""
        if (kept := self._cameras.get(camera)) is None:
            return
        event = CameraEvent(
            camera=camera,
            state=state,
            before=kept.state,
            time=datetime.now(UTC),
            alarm=alarms_in(state, before=kept.alarm),
            detail=detail[:MAX_DETAIL_CHARACTERS],
        )
        kept.state, kept.since, kept.detail, kept.alarm = state, event.time, event.detail, event.alarm
        for given in self.events:
            given(event)

    def frame_received(self, camera: str) -> None:
        """See `Observer`."""
        if (kept := self._cameras.get(camera)) is not None:
            kept.received += 1
            kept.last_s = self._clock()

    def frame_dropped(self, camera: str, cause: DropCause) -> None:
        """See `Observer`."""
        if (kept := self._cameras.get(camera)) is not None:
            kept.dropped[cause.value] += 1

    def result(self, result: Result) -> None:
        """See `Observer`."""
        if (kept := self._cameras.get(result.camera)) is not None:
            kept.verdicts[result.verdict] += 1
            if result.reason is not None:
                kept.reasons[result.reason] += 1

    def _status(self, name: str, kept: "_KeptCamera") -> CameraStatus:
        return CameraStatus(
            camera=name,
            state=kept.state,
            since=kept.since,
            detail=kept.detail,
            alarm=kept.alarm,
            last_picture_age_s=round(self._clock() - kept.last_s, 3) if kept.last_s is not None else None,
            counts=CameraCounts(
                received=kept.received,
                passed=kept.verdicts[Verdict.PASS],
                rejected=kept.verdicts[Verdict.REJECT],
                not_inspected=kept.verdicts[Verdict.NOT_INSPECTED],
                dropped=kept.dropped.total(),
                not_inspected_by_reason=dict(kept.reasons),
                dropped_by_cause=dict(kept.dropped),
            ),
        )


class _KeptCamera:
    def __init__(self, now: datetime) -> None:
        self.state, self.since, self.detail, self.alarm = CameraState.CONNECTING, now, "", False
        self.last_s: float | None = None
        self.received = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.reasons: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
