"""What every proposal starts from, and how it comes about: the event, the rows after it, and what they would change."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from patchline.engine.bank.calibration import Calibration
from patchline.engine.bank.events import Chain, Event, Held, StoredFrame, chain_after
from patchline.engine.bank.manifest import Manifest
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.rates import check_rate
from patchline.engine.bank.state import bank_of, calibration_of, groups_that_count, vouching
from patchline.engine.bank.store import GenerationStore
from patchline.engine.coreset.event_log import Learning
from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.errors import LearningError
from patchline.engine.learning.doubt import reason_to_doubt
from patchline.engine.learning.preview import Preview, preview_steps
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.learning.reference_store import KnownFrames
from patchline.engine.learning.requests import Confirmation, Proposal, Request
from patchline.engine.types import Rows


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Draft:
    """A proposal, and what is stored with it and gone on from once it is taken."""

    proposal: Proposal
    event: Event
    state: OnlineCoreset
    references: ReferenceFrames
    kept: NDArray[np.int64] | None = None
    patches: Mapping[str, Rows] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Head:
    """The newest generation, and all that the next one follows from.

    `first_bank` is generation 1, `first_manifest` its manifest, `first` the state that the fit left; `events` made the
    generations so far, `chain` is what they come to; `passed` are scores of frames that have passed since.
    """

    store: GenerationStore
    manifest: Manifest
    bank: MemoryBank
    state: OnlineCoreset
    first_bank: MemoryBank
    first_manifest: Manifest
    first: OnlineCoreset
    known: KnownFrames
    events: tuple[Event, ...]
    chain: Chain
    passed: tuple[float, ...]

    def by(self, request: Request, operator: str | None = None) -> dict[str, Any]:
        """Who asks, when and why, as an event has it."""
        return {
            "feedback_id": request.feedback_id,
            "operator": operator or request.operator,
            "identity": request.identity or msgspec.UNSET,
            "reason": request.reason,
            "time": request.time,
            "passed": self.passed,
        }

    def patches(self, request: Confirmation, waiting: Held | None) -> Rows:
        """The frame's embeddings, int16 (P, D): those that came with the request, or those in quarantine.

        Raises:
            LearningError: there are none, or of another shape or type.
        """
        if request.patches is None:
            if waiting is None:
                raise LearningError(f"frame {request.frame!r}: came without embeddings and does not wait in quarantine")
            return self.store.patches(waiting.frame)
        patches, expected = request.patches, (self.bank.grid[0] * self.bank.grid[1], self.bank.rows.shape[1])
        if patches.dtype != np.int16 or patches.shape != expected:
            raise LearningError(
                f"patches of frame {request.frame!r}: found {patches.dtype} {patches.shape}, expected int16 {expected}"
            )
        return patches

    def chain_after(self, event: Event) -> Chain:
        """What the chain comes to after one more event."""
        return chain_after(self.chain, event, self.events)

    def replay_steps(self, event: Event) -> Generator[None, None, OnlineCoreset]:
        """The state after an event that takes something away, in slices."""
        frames = self.chain.frames
        log = self.chain_after(event).log
        for learning in Learning.replay(self.first, log, lambda name: self.store.patches(frames[name])):
            yield
            state = learning.state
        return state

    def sync_steps(self) -> Generator[None, None, ReferenceFrames]:
        """The reference frames by the rows as they are, in slices."""
        return (yield from self.known.sync_steps(self.state, self.chain.defects))

    def preview_steps(
        self, references: ReferenceFrames, state: OnlineCoreset, event: Event, threshold: float | None = None
    ) -> Generator[None, None, Preview]:
        """What another state of the rows would change, in steps.

        Args:
            references: in step with the rows as they are.
            state: the rows that would be.
            event: what would make them.
            threshold: the one that would be, where it is known; else it follows from the calibration frames.
        """
        chain = self.chain_after(event)

        def threshold_of(scores: NDArray[np.float64]) -> float:
            return self.calibration(state, scores, chain).threshold if threshold is None else threshold

        frame = getattr(event, "frame", "")
        return (
            yield from preview_steps(
                references,
                state,
                frame.name if isinstance(frame, StoredFrame) else frame,
                scores=self._scores,
                threshold_of=threshold_of,
                threshold_before=self.bank.threshold,
            )
        )

    def doubt(self, references: ReferenceFrames, frame: str, patches: Rows) -> str | None:
        """Why a frame that is said to be good looks like a slip of the finger, or None; see `learning.doubt`.

        Args:
            references: in step with the rows, which do not know the frame.
            frame: its name.
            patches: int16 (P, D).
        """
        recipe = self.bank.recipe
        if recipe.hold_slips is None:
            return None
        others = [n for n, other in enumerate(references.frames) if other.kind == "defect" and other.name != frame]
        if not others:
            return None
        measured = ReferenceFrames(references.state).with_frame(frame, "reject", patches)
        score = float(measured.scores(self.bank.scale, recipe.neighbours, recipe.score_patches)[0])
        defects = [references.frames[number] for number in others]
        return reason_to_doubt(measured.frames[0], score, defects, self._scores(references)[others], recipe.hold_slips)

    def draft(
        self,
        event: Event,
        state: OnlineCoreset,
        preview: Preview,
        kept: NDArray[np.int64] | None = None,
        patches: Mapping[str, Rows] | None = None,
    ) -> Draft:
        """A generation with the rows of another state.

        Args:
            event: what makes it.
            state: its rows.
            preview: what it changes.
            kept: int64 (K,), the former rows that stay; see `GenerationStore.create`.
            patches: embeddings to store with it, by frame.
        """
        calibration = self.calibration(state, preview.calibration_scores, self.chain_after(event))
        bank = bank_of(self.bank, self.first_bank, state, calibration, event.time)
        return Draft(
            proposal=Proposal(bank=bank, preview=preview),
            event=event,
            state=state,
            references=preview.references,
            kept=kept,
            patches=patches or {},
        )

    def draft_unchanged(
        self,
        event: Event,
        references: ReferenceFrames,
        preview: Preview,
        patches: Mapping[str, Rows],
        hold: str | None = None,
        calibration: Calibration | None = None,
    ) -> Draft:
        """A generation that changes no row.

        Args:
            event: what makes it.
            references: reference frames after it.
            preview: what the event would change, were it not held.
            patches: embeddings to store with it, by frame.
            hold: why it puts a frame into quarantine, where it does.
            calibration: the threshold after it, where it changes.
        """
        bank = replace(
            self.bank,
            generation=self.bank.generation + 1,
            created=event.time,
            calibration=self.bank.calibration if calibration is None else calibration,
        )
        return Draft(
            proposal=Proposal(bank=bank, preview=preview, hold=hold),
            event=event,
            state=self.state,
            references=references,
            kept=np.arange(len(self.bank.rows)),
            patches=patches,
        )

    def calibration(self, state: OnlineCoreset, scores: NDArray[np.float64], chain: Chain) -> Calibration:
        """The threshold that goes with a state of the rows; see `bank.state.calibration_of`."""
        return calibration_of(self.first_bank, state, scores, chain, vouching(self.first_manifest, chain))

    def check_rate(self, false_reject_rate: float, chain: Chain) -> None:
        """Raise CalibrationError where the good frames that count after a chain are too few to aim at the rate."""
        vouches = vouching(self.first_manifest, chain)
        check_rate(groups_that_count(self.first_bank, chain, vouches), false_reject_rate)

    def _scores(self, references: ReferenceFrames) -> NDArray[np.float64]:
        recipe = self.bank.recipe
        return self.known.scores(references, self.bank.scale, recipe.neighbours, recipe.score_patches)
