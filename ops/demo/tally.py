"""The count: what became of every frame, held against what was planted."""

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

import numpy as np

from patchline.engine.types import Verdict
from patchline.ops.demo.web import Truth
from patchline.stream.model.result import Result

CONTRAST_EDGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LATENCIES_KEPT = 20_000


class Outcome(StrEnum):
    """A verdict held against the truth. Where no truth is known there are only `PASS` and `REJECT`."""

    PASS = "pass"  # noqa: S105 - an outcome, no password
    REJECT = "reject"
    CAUGHT = "caught"
    ESCAPE = "escape"
    FALSE_REJECT = "false reject"
    NOT_INSPECTED = "not inspected"


@dataclass(slots=True)
class Found:
    """How many of the defects in view were in rejected frames."""

    rejected: int = 0
    planted: int = 0


LIGHTS = {0.0: "before the lamp aged", 1.0: "while it aged", 3.0: "just after", np.inf: "later"}
"""Until a lamp has aged so far (`lighting.aged`), frames count as."""


@dataclass(slots=True)
class Learned:
    """What operators taught a recipe: frames they confirmed as good, those held for a second person, and the newest
    generation with the rows that it has more than the fit's.
    """

    taps: int = 0
    held: int = 0
    generation: int = 1
    rows_added: int = 0


@dataclass(slots=True)
class Tally:
    """Counts frames by outcome, defects in view by kind and contrast, and keeps the latencies.

    A defect in view of two frames counts twice: each frame is judged by itself.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    by_camera: dict[str, Counter[Outcome]] = field(default_factory=dict)
    by_light: dict[str, Counter[Outcome]] = field(default_factory=dict)
    learned: dict[str, Learned] = field(default_factory=dict)
    """By recipe."""
    by_kind: dict[str, Found] = field(default_factory=dict)
    by_contrast: dict[str, Found] = field(default_factory=dict)
    truth_known: bool = True
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    first_s: float | None = None
    last_s: float | None = None
    """Monotonic clock of the first frame received and the last one judged."""

    def add(self, result: Result, truth: Truth | None) -> Outcome:
        """Count one frame; `truth` is None where none is known."""
        outcome = outcome_of(result, truth)
        self.outcomes[outcome] += 1
        self.by_camera.setdefault(result.camera, Counter())[outcome] += 1
        if truth is not None:
            light = next(words for until, words in LIGHTS.items() if truth.aged <= until)
            self.by_light.setdefault(light, Counter())[outcome] += 1
        self.latencies_ms.append(result.latency_ms)
        self.last_s = monotonic()
        if self.first_s is None:
            self.first_s = self.last_s - result.latency_ms / 1000
        for defect in truth.defects if truth else ():
            for found in (
                self.by_kind.setdefault(defect.kind.value, Found()),
                self.by_contrast.setdefault(contrast_band(defect.contrast), Found()),
            ):
                found.planted += 1
                found.rejected += outcome is Outcome.CAUGHT
        return outcome

    @property
    def frames(self) -> int:
        """Frames with a result."""
        return self.outcomes.total()

    @property
    def rejects(self) -> int:
        """Rejected frames, rightly or not."""
        return sum(self.outcomes[outcome] for outcome in (Outcome.REJECT, Outcome.CAUGHT, Outcome.FALSE_REJECT))

    @property
    def good(self) -> int:
        """Frames in which nothing was planted, of those inspected."""
        return self.outcomes[Outcome.PASS] + self.outcomes[Outcome.FALSE_REJECT]

    @property
    def defective(self) -> int:
        """Frames in which a defect was planted, of those inspected."""
        return self.outcomes[Outcome.CAUGHT] + self.outcomes[Outcome.ESCAPE]

    @property
    def seconds(self) -> float:
        """From the first frame received to the last one judged."""
        return (self.last_s or 0.0) - (self.first_s or 0.0)

    @property
    def frames_per_s(self) -> float:
        """Frames judged a second, the line's pace included."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    def latency_ms(self, quantile: float) -> float:
        """A quantile of the latencies, in milliseconds, from read to result."""
        return float(np.quantile(np.array(self.latencies_ms), quantile)) if self.latencies_ms else 0.0


def outcome_of(result: Result, truth: Truth | None) -> Outcome:
    """A frame's verdict held against its truth."""
    if result.verdict is Verdict.NOT_INSPECTED:
        return Outcome.NOT_INSPECTED
    rejected = result.verdict is Verdict.REJECT
    if truth is None:
        return Outcome.REJECT if rejected else Outcome.PASS
    if truth.defective:
        return Outcome.CAUGHT if rejected else Outcome.ESCAPE
    return Outcome.FALSE_REJECT if rejected else Outcome.PASS


def contrast_band(contrast: float) -> str:
    """The band of a contrast, as `0.2-0.4`; each begins with its lower edge."""
    upper = next((edge for edge in CONTRAST_EDGES[1:-1] if contrast < edge), CONTRAST_EDGES[-1])
    lower = CONTRAST_EDGES[CONTRAST_EDGES.index(upper) - 1]
    return f"{lower:.1f}-{upper:.1f}"
