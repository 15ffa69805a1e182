"""A recipe's learning over its store: what is asked becomes a proposal, and a proposal the next generation.

Proposals are made in slices, so that whoever owns the thread can inspect frames in between. Nothing is written until
`commit`; where another writer was first, it raises, and the request is proposed anew over what that writer made.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import LearningError
from engine.feedback import Ageing, Confirmation, Proposal, Request, Rollback, Unlearning
from engine.generation_events import (
    Aged,
    Chain,
    ConfirmedDefect,
    ConfirmedGood,
    Event,
    Held,
    RolledBack,
    StoredFrame,
    Unlearned,
    chain,
    following,
)
from engine.generation_manifest import LearningState, Manifest
from engine.generation_state import bank_of, calibration_of, first_state, state_of
from engine.generation_store import GenerationStore
from engine.known_frames import KnownFrames
from engine.learning import Learning
from engine.learning_preview import Preview, previewing
from engine.memory_bank import MemoryBank
from engine.online_coreset import OnlineCoreset, learn
from engine.quantise import Rows
from engine.reference_frames import ReferenceFrames
from engine.update_guard import reason_to_hold


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Draft:
    """What `commit` writes with a proposal's bank, and goes on from."""

    event: Event
    state: OnlineCoreset
    references: ReferenceFrames
    kept: NDArray[np.int64] | None = None
    patches: Mapping[str, Rows] = field(default_factory=dict)


class Learner:
    """One recipe's learning; one thread at a time, any number of processes.

    `bank` is the newest generation, `proposal` what the last request would make of it, `chain` what all generations'
    events come to.
    """

    def __init__(
        self, store: GenerationStore, manifest: Manifest, bank: MemoryBank, first: MemoryBank, known: KnownFrames
    ) -> None:
        self.bank = bank
        self.proposal: Proposal | None = None
        self._draft: _Draft | None = None
        self._store = store
        self._manifest = manifest
        self._first_bank, self._first = first, first_state(first)
        self._state = state_of(bank, manifest.learning, self._first)
        self._known = known
        self._events: list[Event] = list(store.events(manifest.generation))
        self.chain: Chain = chain(self._events)
        self._passed: list[float] = []

    @classmethod
    def open(cls, store: GenerationStore) -> "Learner":
        """Go on from a store's newest generation.

        Raises:
            BankFileError: the store holds none, or a file is truncated, altered or foreign.
            LearningError: the bank was fitted without keeping its calibration frames.
        """
        manifest = store.manifest()
        calibration = store.manifest(1).calibration
        if not calibration:
            raise LearningError(
                f"{store.where}: the calibration frames were not kept with the bank, so no threshold could follow what "
                f"it learns; fit it again"
            )
        known = KnownFrames(store, calibration, manifest.rejects)
        return cls(store, manifest, store.bank(manifest.generation), store.bank(1), known)

    def reopen(self) -> "Learner":
        """Go on from the newest generation, whoever wrote it, with the rejects and scores noted here; see `open`."""
        manifest = self._store.manifest()
        opened = Learner(self._store, manifest, self._store.bank(manifest.generation), self._first_bank, self._known)
        opened._passed = self._passed
        return opened

    def knows(self, feedback_id: str) -> bool:
        """Whether a request has been applied, by this process or any other."""
        return feedback_id in self.chain.feedback

    def note_reject(self, frame: str, patches: Rows) -> None:
        """Remember a rejected frame, int16 (P, D), for previews; it is stored with the next generation."""
        self._known.note_reject(frame, patches)

    def note_pass(self, score: float) -> None:
        """Remember the score of a frame that passed; it is stored with the next generation."""
        self._passed.append(score)

    def confirm_good(self, request: Confirmation) -> Iterator[None]:
        """Propose to learn a frame; it is held where the guard says so, unless a second person has approved it.

        A frame that has been learned already changes no row.

        Raises:
            LearningError: there are no patches, nobody is named, or the one who confirmed a held frame asks again.
        """
        waiting = self._begin(request)
        confirmed_by, approved_by = request.operator, request.approved_by
        if waiting is not None and approved_by is None:
            confirmed_by, approved_by = waiting.operator, request.operator
        if approved_by is not None and approved_by == confirmed_by:
            raise LearningError(f"frame {request.frame!r}: waits for someone else than {confirmed_by!r} to approve it")
        patches = self._patches(request, waiting)
        references = yield from self._in_step()
        state, delta = learn(self._state, request.frame, patches)
        yield
        event = ConfirmedGood(
            frame=StoredFrame(name=request.frame, sha256="", bytes=0),
            score=waiting.score if waiting else request.score,
            approved_by=approved_by,
            **self._by(request, confirmed_by),
        )
        preview = yield from self._preview(references, state, event)
        why = None if approved_by else reason_to_hold(preview)
        if why is None:
            self._propose(event, state, preview, delta.kept, {request.frame: patches})
            return
        held = Held(frame=event.frame, score=event.score, held=why, **self._by(request))
        self._propose_unchanged(held, references, preview, {request.frame: patches}, why)

    def confirm_defect(self, request: Confirmation) -> Iterator[None]:
        """Propose that a frame joins the known defects, which no update may hide unseen. No row changes.

        Raises:
            LearningError: there are no patches, or nobody is named.
        """
        waiting = self._begin(request)
        patches = self._patches(request, waiting)
        references = yield from self._in_step()
        event = ConfirmedDefect(frame=StoredFrame(name=request.frame, sha256="", bytes=0), **self._by(request))
        references = references.with_frame(request.frame, "defect", patches)
        preview = yield from self._preview(references, self._state, event)
        self._propose_unchanged(event, references, preview, {request.frame: patches})

    def unlearn(self, request: Unlearning) -> Iterator[None]:
        """Propose the bank that never saw a confirmed frame: the log of events, replayed without it.

        A frame that waits in quarantine, or is a known defect, is only taken from there.

        Raises:
            LearningError: the frame is of the fit, or unknown.
        """
        self._begin(request)
        name, now = request.frame, self.chain
        if name not in now.frames and name not in now.defects and name not in now.held:
            if name in {frame.name for frame in self._first_bank.frames}:
                raise LearningError(f"frame {name!r} is part of the fit: unlearning it takes a refit")
            raise LearningError(f"frame {name!r} has been neither learned, nor held, nor named a defect")
        references = (yield from self._in_step()).without_frame(name, "defect")
        event = Unlearned(frame=name, **self._by(request))
        state = self._state
        if name in now.frames:
            state = yield from self._replay(event)
        preview = yield from self._preview(references, state, event)
        self._propose(event, state, preview)

    def rollback(self, request: Rollback) -> Iterator[None]:
        """Propose a generation that equals an earlier one in rows and threshold; known defects stay known.

        Raises:
            LearningError: there is no such generation before the newest.
            BankFileError: its files are truncated or altered.
        """
        self._begin(request)
        if not 1 <= request.generation < self.bank.generation:
            raise LearningError(
                f"generation {request.generation}: expected one before the newest, 1 to {self.bank.generation - 1}"
            )
        earlier = self._store.bank(request.generation)
        state = state_of(earlier, self._store.manifest(request.generation).learning, self._first)
        yield
        references = yield from self._in_step()
        event = RolledBack(to=request.generation, **self._by(request))
        preview = yield from self._preview(references, state, event, earlier.threshold)
        bank = replace(earlier, generation=self.bank.generation + 1, created=request.time)
        self._draft = _Draft(event=event, state=state, references=preview.references)
        self.proposal = Proposal(bank=bank, preview=preview)

    def age(self, request: Ageing) -> Iterator[None]:
        """Propose that rows leave, and with them what they stood for; what remains is learned again.

        Raises:
            LearningError: one of the rows is not there, or no row of the fit would be left.
        """
        self._begin(request)
        there = {self.bank.provenance(row) for row in range(len(self.bank.rows))}
        if unknown := set(request.rows) - there:
            raise LearningError(f"row {min(unknown)}: is not in generation {self.bank.generation}")
        fitted = {self._first_bank.provenance(row) for row in range(len(self._first_bank.rows))}
        if fitted & there <= set(request.rows):
            raise LearningError("no row of the fit would be left")
        references = yield from self._in_step()
        event = Aged(rows=request.rows, **self._by(request))
        state = yield from self._replay(event)
        preview = yield from self._preview(references, state, event)
        self._propose(event, state, preview)

    def commit(self) -> MemoryBank:
        """Write the proposal as the next generation, and go on from it.

        Raises:
            GenerationConflictError: another writer was first; `reopen` and propose anew.
            LearningError: nothing is proposed.
            BankFileError: the store cannot be written.
        """
        proposal, draft = self.proposal, self._draft
        if proposal is None or draft is None:
            raise LearningError("nothing is proposed")
        event = draft.event
        if isinstance(event, ConfirmedGood | Held | ConfirmedDefect):
            stored = self._store.keep(event.frame.name, draft.patches[event.frame.name])
            event = msgspec.structs.replace(event, frame=stored)
        manifest = self._store.create(
            proposal.bank,
            event=event,
            before=(self._manifest, self.bank),
            kept=draft.kept,
            learning=LearningState.of(draft.state),
            rejects=self._known.store_rejects(),
        )
        self.chain = following(self.chain, event, self._events)
        self._events.append(event)
        self._manifest, self.bank, self._state = manifest, proposal.bank, draft.state
        self._known.take(draft.references)
        del self._passed[: len(event.passed)]
        self.proposal = self._draft = None
        return self.bank

    def _begin(self, request: Request) -> Held | None:
        """Check who asks and what; the frame's place in quarantine, if it has one."""
        self.proposal = self._draft = None
        if not request.operator.strip():
            raise LearningError(f"feedback {request.feedback_id!r}: operator is empty, expected who asks for it")
        if request.feedback_id and self.knows(request.feedback_id):
            raise LearningError(f"feedback {request.feedback_id!r}: has been applied already")
        return self.chain.held.get(request.frame) if isinstance(request, Confirmation) else None

    def _by(self, request: Request, operator: str | None = None) -> dict[str, Any]:
        return {
            "feedback_id": request.feedback_id,
            "operator": operator or request.operator,
            "reason": request.reason,
            "time": request.time,
            "passed": tuple(self._passed),
        }

    def _patches(self, request: Confirmation, waiting: Held | None) -> Rows:
        if request.patches is None:
            if waiting is None:
                raise LearningError(f"frame {request.frame!r}: came without embeddings and does not wait in quarantine")
            return self._store.patches(waiting.frame)
        found, expected = request.patches, (self.bank.grid[0] * self.bank.grid[1], self.bank.rows.shape[1])
        if found.dtype != np.int16 or found.shape != expected:
            raise LearningError(
                f"patches of frame {request.frame!r}: found {found.dtype} {found.shape}, expected int16 {expected}"
            )
        return found

    def _replay(self, event: Event) -> Generator[None, None, OnlineCoreset]:
        """The state after an event that takes something away."""
        log = following(self.chain, event, self._events).log
        frames = self.chain.frames
        for learning in Learning.replay(self._first, log, lambda name: self._store.patches(frames[name])):
            yield
            state = learning.state
        return state

    def _in_step(self) -> Generator[None, None, ReferenceFrames]:
        return (yield from self._known.in_step(self._state, self.chain.defects))

    def _preview(
        self, references: ReferenceFrames, state: OnlineCoreset, event: Event, threshold: float | None = None
    ) -> Generator[None, None, Preview]:
        now = following(self.chain, event, self._events)

        def threshold_of(scores: NDArray[np.float64]) -> float:
            return calibration_of(self._first_bank, state, scores, now).threshold if threshold is None else threshold

        frame = getattr(event, "frame", "")
        return (
            yield from previewing(
                references,
                state,
                frame.name if isinstance(frame, StoredFrame) else frame,
                scores=self._scores,
                threshold_of=threshold_of,
                threshold_before=self.bank.threshold,
            )
        )

    def _scores(self, references: ReferenceFrames) -> NDArray[np.float64]:
        recipe = self.bank.recipe
        return references.scores(self.bank.scale, recipe.neighbours, recipe.score_patches)

    def _propose(
        self,
        event: Event,
        state: OnlineCoreset,
        preview: Preview,
        kept: NDArray[np.int64] | None = None,
        patches: Mapping[str, Rows] | None = None,
    ) -> None:
        now = following(self.chain, event, self._events)
        calibration = calibration_of(self._first_bank, state, preview.calibration_scores, now)
        bank = bank_of(self.bank, self._first_bank, state, calibration, event.time)
        self._draft = _Draft(event=event, state=state, references=preview.references, kept=kept, patches=patches or {})
        self.proposal = Proposal(bank=bank, preview=preview)

    def _propose_unchanged(
        self,
        event: Event,
        references: ReferenceFrames,
        preview: Preview,
        patches: Mapping[str, Rows],
        hold: str | None = None,
    ) -> None:
        """Propose a generation that changes no row."""
        bank = replace(self.bank, generation=self.bank.generation + 1, created=event.time)
        kept = np.arange(len(self.bank.rows))
        self._draft = _Draft(event=event, state=self._state, references=references, kept=kept, patches=patches)
        self.proposal = Proposal(bank=bank, preview=preview, hold=hold)
