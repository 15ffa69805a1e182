"""The board: what the terminal and the page show, kept up to date by watching the pipeline."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal, TypeAlias

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.types import Image, Inspection
from patchline.ops.demo.tally import Learned, Outcome, Tally
from patchline.ops.demo.web import Truth
from patchline.stream.model.errors import DropCause
from patchline.stream.model.feedback import FeedbackOutcome, FeedbackReply
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import Result

State: TypeAlias = Literal["fitting", "running", "draining", "done"]
TruthOf: TypeAlias = Callable[[str], Truth | None]
WORDS = {
    FeedbackOutcome.LEARNED: "Learned: generation {generation}",
    FeedbackOutcome.UNCHANGED: "Learned before",
    FeedbackOutcome.HELD: "Held for a second person: {detail}",
    FeedbackOutcome.REFUSED: "Not learned: {detail}",
}
RECENT = 48
"""Frames whose picture can still be asked for."""
GALLERY = 24
TIMELINE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A judged frame as it is shown. `number` counts judged frames from 1."""

    number: int
    frame: Frame = field(repr=False)
    result: Result
    inspection: Inspection | None = field(repr=False)
    truth: Truth | None
    outcome: Outcome

    @property
    def ratio(self) -> float | None:
        """Score over threshold: above 1 is a reject."""
        if self.result.score is None or self.result.threshold is None:
            return None
        return self.result.score / self.result.threshold

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, in a sentence."""
        if self.ratio is None or self.result.worst is None:
            return f"Not inspected: {self.result.detail}"
        box = self.result.worst
        where = f"{box.left_px + box.width_px // 2} px from the left, {box.top_px + box.height_px // 2} px from the top"
        if self.ratio > 1.005:
            return f"The patch {where} is {self.ratio:.2f}x the threshold"
        if self.ratio > 1:
            return f"The patch {where} is just above the threshold"
        return f"The worst patch, {where}, is {self.ratio:.2f}x the threshold"

    @property
    def planted(self) -> str:
        """What is truly there, in a few words; empty where no truth is known."""
        if self.truth is None:
            return ""
        if not self.truth.defects:
            return "nothing planted"
        return ", ".join(f"{defect.kind}, contrast {defect.contrast:.2f}" for defect in self.truth.defects)


@dataclass(frozen=True, slots=True)
class Swap:
    """A generation that came into use, and how many frames had been judged by then."""

    number: int
    recipe: str
    generation: int


@dataclass(frozen=True, slots=True)
class Point:
    """One frame on the timeline."""

    number: int
    camera: str
    ratio: float | None
    outcome: Outcome


class Board(Observer):
    """Watches the pipeline and remembers what is worth showing; lives on the event loop.

    Args:
        tally: counts every judged frame.
        truth_of: what is planted in a frame, by its id; None where no truth is known.
    """

    def __init__(self, tally: Tally, truth_of: TruthOf):
        self.tally = tally
        self._truth_of = truth_of
        self.state: State = "fitting"
        self.activity = ""
        """What is being done before the stream begins."""
        self.progress = 0.0
        self.points: deque[Point] = deque(maxlen=TIMELINE)
        self.swaps: deque[Swap] = deque(maxlen=TIMELINE)
        self.said: dict[str, str] = {}
        """What became of a tap, by frame id."""
        self.latest: dict[str, Shown] = {}
        self.gallery: deque[Shown] = deque(maxlen=GALLERY)
        """Rejects and escapes, newest first."""
        self.last_reject: Shown | None = None
        self.last_reject_s: float | None = None
        self.dropped = 0
        self.fitted_rows: dict[str, int] = {}
        """Rows of each recipe's fit."""
        self.version = 0
        """Grows with every change."""
        self._recent: deque[Shown] = deque(maxlen=RECENT)
        self._changed = asyncio.Event()

    def judged(
        self,
        frame: Frame,
        prepared: Image | None,  # noqa: ARG002 - the page draws on the frame as received
        inspection: Inspection | None,
        result: Result,
    ) -> None:
        """See `Observer`."""
        truth = self._truth_of(frame.frame_id)
        outcome = self.tally.add(result, truth)
        shown = Shown(
            number=self.tally.frames, frame=frame, result=result, inspection=inspection, truth=truth, outcome=outcome
        )
        self.latest[frame.camera] = shown
        self.points.append(Point(shown.number, frame.camera, shown.ratio, outcome))
        self._recent.append(shown)
        if outcome is not Outcome.PASS:
            self.gallery.appendleft(shown)
        if outcome in (Outcome.REJECT, Outcome.CAUGHT, Outcome.FALSE_REJECT):
            self.last_reject, self.last_reject_s = shown, monotonic()
        self.touch()

    def frame_dropped(self, camera: str, cause: DropCause) -> None:  # noqa: ARG002 - counted together
        """See `Observer`."""
        self.dropped += 1

    def feedback(self, reply: FeedbackReply) -> None:
        """See `Observer`."""
        learned = self.tally.learned.setdefault(reply.recipe, Learned())
        learned.taps += reply.outcome is FeedbackOutcome.LEARNED
        learned.held += reply.outcome is FeedbackOutcome.HELD
        if reply.frame_id is not None:
            number = reply.generation.number if reply.generation is not None else 0
            self.say(reply.frame_id, WORDS[reply.outcome].format(generation=number, detail=reply.detail))

    def generation(self, recipe: str, bank: MemoryBank) -> None:
        """See `Observer`."""
        learned = self.tally.learned.setdefault(recipe, Learned())
        learned.generation, learned.rows_added = bank.generation, len(bank.rows) - self.fitted_rows.get(recipe, 0)
        self.swaps.append(Swap(self.tally.frames, recipe, bank.generation))
        self.touch()

    def say(self, frame_id: str, words: str) -> None:
        """What became of a tap on a frame."""
        self.said[frame_id] = words
        if len(self.said) > RECENT + GALLERY:
            del self.said[next(iter(self.said))]
        self.touch()

    def ready(self, ready: bool) -> None:
        """See `Observer`."""
        self.enter("running" if ready else "draining")

    def enter(self, state: State) -> None:
        """Go on to the next state; the order is that of `State`, and it is never left backwards."""
        order: tuple[State, ...] = ("fitting", "running", "draining", "done")
        if order.index(state) > order.index(self.state):
            self.state = state
        self.touch()

    def report(self, activity: str, progress: float) -> None:
        """What is being done before the stream begins, and how much of it is done, 0 to 1."""
        self.activity, self.progress = activity, progress
        self.touch()

    def find(self, number: int) -> Shown | None:
        """A frame that is still remembered, by its number."""
        return next((shown for shown in (*self._recent, *self.gallery) if shown.number == number), None)

    def touch(self) -> None:
        """Wake everybody who waits for news."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def news(self, seen: int) -> int:
        """Wait until there is a version newer than `seen`, and say which."""
        while self.version <= seen:
            await self._changed.wait()
        return self.version
