"""The health of one camera's pictures: one picture in, a flaw or nothing out."""

import msgspec

from patchline.engine.types import Image
from patchline.stream.cameras.health.checks import causes_of
from patchline.stream.cameras.health.config import SICK, HealthConfig
from patchline.stream.cameras.health.confirmation import Confirmation
from patchline.stream.cameras.health.figures import LEAST_PX, PictureFigures, figures_of
from patchline.stream.cameras.health.motion import Lines, Motion
from patchline.stream.cameras.health.references import Learned, Learning, References, references_of
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import Reason

_TEACHES_S = 60.0
"""After something has moved, pictures teach for so long: a line that stands still all night is not its scene."""
_BEHIND_S = 0.5
"""One camera of a line may show so much later than another that the line stands still."""


class Flaw(msgspec.Struct, frozen=True):
    """Why a picture is not judged."""

    reason: Reason
    detail: str


class CameraHealth:
    """Looks at every picture of a camera, in their order, from one thread at a time.

    Args:
        config: what is known of the camera.
        learned: what an earlier process has learned; it counts only under the same settings.
        lines: which cameras of a line move; shared by all cameras.
    """

    def __init__(self, config: HealthConfig, learned: Learned | None = None, lines: Lines | None = None) -> None:
        self._config = config
        self._lines = lines or Lines()
        self.state, self.detail = CameraState.OK, ""
        """What the pictures are now: `ok`, `still`, or a state in which they are not judged; and its sentence."""
        self._learning: Learning | None = None
        self._references: References | None = None
        self.forget(learned if learned is not None and learned.settings == config.settings else None)

    @property
    def learned(self) -> Learned | None:
        """What is to be kept for the next process; None before the first picture."""
        return self._learning.learned if self._learning is not None else None

    def forget(self, learned: Learned | None = None) -> None:
        """Begin anew, with what an earlier process has learned or with nothing."""
        self._motion = Motion()
        self._confirmation = Confirmation(self._config.lasts_pictures, self._config.lasts_s)
        self._learning = Learning(learned, self._config.learns_for_s) if learned is not None else None
        self._references = references_of(learned) if learned is not None and learned.done else None

    def look(self, image: Image, at_s: float) -> Flaw | None:
        """Look at the next picture.

        Args:
            image: RGB uint8 (H, W, 3).
            at_s: when it came, on a clock that only rises.

        Returns:
            Why it must not be judged; None where it may be.
        """
        if min(image.shape[:2]) < LEAST_PX:
            return None
        figures = figures_of(image)
        causes = self._causes(image, figures, at_s)
        lasted = {CameraState.FROZEN} if self._is_still(at_s) else set()
        self.state, self.detail = self._confirmation.next(causes, at_s, lasted)
        if self.state is CameraState.OK and self._is_still(at_s):
            self.state, self.detail = CameraState.STILL, "pictures repeat bit for bit"
        if not causes and self.state in (CameraState.OK, CameraState.STILL):
            self._learn(figures, at_s)
        return Flaw(SICK[self.state], self.detail) if self.state in SICK else None

    def _causes(self, image: Image, figures: PictureFigures, at_s: float) -> dict[CameraState, str]:
        learning = self._learning
        if learning is None:
            learned = Learned(
                camera=self._config.camera,
                settings=self._config.settings,
                size_px=figures.size_px,
                cells=(figures.cells.shape[0], figures.cells.shape[1]),
            )
            learning = self._learning = Learning(learned, self._config.learns_for_s)
        motion, line = self._motion, self._config.line
        motion.next(image, figures, at_s)
        if line is not None and motion.moved_since_s is not None:
            self._lines.moved(line, self._config.camera, motion.moved_since_s)
        if figures.size_px != tuple(learning.learned.size_px):
            (height, width), (expected_height, expected_width) = figures.size_px, learning.learned.size_px
            size = f"the picture has {height} x {width} pixels (H x W), expected {expected_height} x {expected_width}"
            return self._counted({CameraState.WRONG_SIZE: size})
        begun = self._confirmation.begun
        causes = causes_of(figures, self._references, begun, fixture=self._config.fixture)
        if motion.repeats and (why := self._why_running(begun)):
            causes[CameraState.FROZEN] = f"pictures repeat bit for bit, and {why}"
        return self._counted(causes)

    def _counted(self, causes: dict[CameraState, str]) -> dict[CameraState, str]:
        return {state: causes[state] for state in SICK if state in causes and state not in self._config.ignores}

    def _is_still(self, at_s: float) -> bool:
        """Whether pictures have repeated for long enough."""
        motion, config = self._motion, self._config
        lasts = motion.still_s is not None and at_s - motion.still_s >= config.lasts_s
        return lasts and motion.repeats >= config.lasts_pictures

    def _why_running(self, begun: frozenset[CameraState]) -> str | None:
        """How it is known that pictures would change if the camera still looked; None: it is not."""
        taught = self._references
        if self._config.always_runs:
            return "its line always runs"
        if taught is not None and not taught.repeats:
            return "the camera never repeated one in its first hour"
        if (taught is None or not taught.repeats_running) and (self._others_move() or CameraState.FROZEN in begun):
            return f"another camera of line {self._config.line} moves"
        return None

    def _others_move(self) -> bool:
        """Whether another camera of the line has moved since this one stands still."""
        line, still_s = self._config.line, self._motion.still_s
        if line is None or still_s is None:
            return False
        return self._lines.others_move(line, self._config.camera, still_s + _BEHIND_S)

    def _learn(self, figures: PictureFigures, at_s: float) -> None:
        learning, moved_s = self._learning, self._motion.moved_s
        if learning is None or learning.learned.done:
            return
        if self._motion.repeats:
            learning.repeated(running=self._others_move())
        if moved_s is None or at_s - moved_s > _TEACHES_S:
            learning.pause()
        elif learning.take(figures, at_s):
            self._references = references_of(learning.learned)
