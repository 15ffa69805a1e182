"""A change of a camera's state, as events and the health alarm tell it, and which states are alarming."""

from datetime import datetime
from typing import Annotated

import msgspec

from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.result import check_zone

HEALTHY_STATES = frozenset({CameraState.OK, CameraState.STILL})
"""Pictures come and are judged."""
DELIVERING_STATES = frozenset(CameraState) - {
    *(CameraState.CONNECTING, CameraState.UNREACHABLE, CameraState.REFUSED, CameraState.UNAUTHORISED),
    *(CameraState.NOT_FOUND, CameraState.DNS, CameraState.TLS, CameraState.NO_VIDEO, CameraState.NO_PACKETS),
    *(CameraState.NO_PICTURES, CameraState.UNDECODABLE),
}
"""Pictures come, whatever they are like."""


class CameraEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A camera is in another state than before (CloudEvents type `io.patchline.camera.v1`)."""

    camera: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    state: CameraState
    before: CameraState
    time: datetime
    alarm: bool
    """Whether its health alarm is raised: since this event, where the state before was a healthy one."""
    detail: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    """A sentence: what was found."""

    def __post_init__(self) -> None:
        check_zone("time", self.time)


def alarms_in(state: CameraState, *, before: bool) -> bool:
    """Whether a camera's health alarm is raised in a state: one that connects keeps the alarm that it had.

    Args:
        state: the new one.
        before: whether the alarm was raised.
    """
    return before if state is CameraState.CONNECTING else state not in HEALTHY_STATES
