"""What is known of a camera whose pictures are looked at."""

from dataclasses import dataclass

from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.checks import at_least, positive
from patchline.stream.model.errors import ConfigError, Reason

SICK: dict[CameraState, Reason] = {
    CameraState.WRONG_SIZE: Reason.WRONG_SIZE,
    CameraState.BLACK: Reason.BLACK,
    CameraState.SATURATED: Reason.SATURATED,
    CameraState.FLAT: Reason.FLAT,
    CameraState.FROZEN: Reason.FROZEN,
    CameraState.DARK: Reason.DARK,
    CameraState.MOVED: Reason.MOVED,
    CameraState.COVERED: Reason.COVERED,
    CameraState.BLURRED: Reason.BLURRED,
}
"""The states in which pictures are not judged, with the reason of their results. Of several, the first is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """What is known of a camera, and for how long a cause must last."""

    camera: str
    line: str | None = None
    """Cameras of one line move together: one that stands still while another moves is frozen."""
    always_runs: bool = False
    """The line never stands still, so pictures that repeat are frozen ones."""
    fixture: bool = False
    """Parts are always in one place, so a scene that is elsewhere is a camera that was moved."""
    ignores: frozenset[CameraState] = frozenset()
    """States that say nothing of this camera, such as `black` where the light is switched off between parts."""
    learns_for_s: float = 3600.0
    """How long the references are learned, in seconds in which something moves."""
    lasts_s: float = 1.5
    """How long a cause must last before it is the camera's state, and health before it is again."""
    lasts_pictures: int = 3
    """The same in pictures; both must have passed."""
    settings: str = ""
    """Names the settings under which references were learned: others are learned anew."""

    def __post_init__(self) -> None:
        positive(self, "learns_for_s")
        at_least(self, 0, "lasts_s")
        at_least(self, 1, "lasts_pictures")
        if foreign := sorted(state.value for state in self.ignores - SICK.keys()):
            expected = ", ".join(state.value for state in SICK)
            raise ConfigError(f"HealthConfig.ignores has {', '.join(foreign)}, expected some of: {expected}")
