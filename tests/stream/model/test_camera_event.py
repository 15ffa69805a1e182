"""Which states are alarming."""

from datetime import UTC, datetime

import pytest

from patchline.stream.model.camera_event import CameraEvent, alarms_in
from patchline.stream.model.camera_state import CameraState


@pytest.mark.parametrize("state", CameraState)
def test_all_but_health_is_alarming_and_connecting_changes_nothing(state: CameraState) -> None:
    """A camera that connects again keeps the alarm that it had, so that it neither ends nor begins by trying."""
    found = (alarms_in(state, before=False), alarms_in(state, before=True))
    expected = {"connecting": (False, True), "ok": (False, False), "still": (False, False)}
    assert found == expected.get(state.value, (True, True))


def test_a_time_has_a_zone() -> None:
    """Readers are elsewhere."""
    with pytest.raises(ValueError, match="expected a time zone"):
        CameraEvent(
            camera="a",
            state=CameraState.OK,
            before=CameraState.OK,
            time=datetime.now(UTC).replace(tzinfo=None),
            alarm=False,
        )
