"""A recipe's learning over its store: what is asked becomes a proposal, and a proposal the next generation.

Proposals are made in slices, so that whoever owns the thread can inspect frames in between. Nothing is written until
`commit`; where another writer was first, it raises, and the request is proposed anew over what that writer made.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import msgspec

from patchline.engine.bank.events import Chain, ConfirmedDefect, ConfirmedGood, Held, chain_of
from patchline.engine.bank.manifest import LearningState, Manifest, manifest_name
from patchline.engine.bank.manifest_check import check_kind
from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.state import first_state, state_of
from patchline.engine.bank.store import GenerationStore
from patchline.engine.bank.usage_log import UsedRows
from patchline.engine.coreset.online_state import OnlineCoreset
from patchline.engine.errors import LearningError
from patchline.engine.learning import proposals
from patchline.engine.learning.ageing import unused_rows
from patchline.engine.learning.draft import Draft, Head
from patchline.engine.learning.reference_frames import Kind
from patchline.engine.learning.reference_store import KnownFrames
from patchline.engine.learning.requests import (
    Ageing,
    Confirmation,
    Proposal,
    Request,
    Rollback,
    ThresholdChoice,
    Unlearning,
)
from patchline.engine.types import Rows

Asked = TypeVar("Asked", bound=Request)


class Learner:
    """One recipe's learning; one thread at a time, any number of processes.

    Example:
        A frame was rejected and an operator says that it is good. With the bank of a recipe "part", and the frame as
        an RGB uint8 `image`:

        >>> from patchline.engine import Confirmation, GenerationStore, Inspector, Learner, save_bank
        >>> path = save_bank(bank, "banks/part")
        >>> learner = Learner.open(GenerationStore("banks/part"))
        >>> inspector = Inspector({"part": bank}, device="cpu")
        >>> patches = inspector.embed("part", inspector.prepare("part", image))
        >>> tap = Confirmation(feedback_id="tap-1", operator="kim", frame="frame-17", patches=patches)
        >>> for _ in learner.confirm_good(tap):
        ...     pass  # between the steps, frames may be inspected
        >>> learner.proposal.preview.hold is None  # nobody else needs to look at it
        True
        >>> inspector.swap("part", learner.commit())
        >>> learner.bank.generation
        2
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._draft: Draft | None = None
        self._passed = list(head.passed)

    @classmethod
    def open(cls, store: GenerationStore, *, learns: bool = True) -> "Learner":
        """Go on from a store's newest generation.

        Args:
            store: where the generations are.
            learns: whether rows are to change. Without, a threshold can be chosen, and that be rolled back, also where
                the bank was fitted without keeping its calibration frames.

        Raises:
            BankFileError: the store holds none, or a file is truncated, altered or foreign.
            LearningError: the bank was fitted without keeping its calibration frames, and rows are to change.
        """
        manifest, first = store.manifest(), store.manifest(1)
        if learns:
            _check_learns(store, first)
        bank = store.bank(1)
        known = KnownFrames(store, first.calibration, manifest.rejects, bank.calibration_folds)
        state = state_of(bank, first.learning, first_state(bank))
        return cls(_read_head(store, manifest, bank, first, state, known))

    def reopen(self) -> "Learner":
        """Go on from the newest generation, whoever wrote it, with the rejects and scores noted here; see `open`."""
        head = self._head
        newest = head.store.manifest()
        learner = Learner(_read_head(head.store, newest, head.first_bank, head.first_manifest, head.first, head.known))
        learner._passed = self._passed
        return learner

    @property
    def bank(self) -> MemoryBank:
        """The newest generation."""
        return self._head.bank

    @property
    def chain(self) -> Chain:
        """What all generations' events come to."""
        return self._head.chain

    @property
    def proposal(self) -> Proposal | None:
        """What the last request would make of the bank, until it is taken."""
        return self._draft.proposal if self._draft is not None else None

    def warm_up(self) -> Iterator[None]:
        """Bring the reference frames in step with the bank, in slices: the first proposal then costs what later do."""
        yield from self._head.sync_steps()

    def knows(self, feedback_id: str) -> bool:
        """Whether a request has been applied, by this process or any other."""
        return feedback_id in self.chain.feedback

    def passed_over(self) -> list[tuple[Kind, str, str]]:
        """Frames that updates are held against and whose files were passed over since the last call: what they are,
        which one, and why.
        """
        noted = self._head.known.passed_over
        told, noted[:] = list(noted), []
        return told

    def note_reject(self, frame: str, patches: Rows) -> None:
        """Remember a rejected frame, int16 (P, D), for previews; it is stored with the next generation."""
        self._head.known.note_reject(frame, patches)

    def note_pass(self, score: float) -> None:
        """Remember the score of a frame that passed; it is stored with the next generation."""
        self._passed.append(score)

    def confirm_good(self, request: Confirmation) -> Iterator[None]:
        """Propose to learn a frame, or to hold it; see `proposals.confirm_good`. LearningError: nobody is named."""
        return self._propose(request, proposals.confirm_good)

    def confirm_defect(self, request: Confirmation) -> Iterator[None]:
        """Propose that a frame joins the known defects; see `proposals.confirm_defect`."""
        return self._propose(request, proposals.confirm_defect)

    def unlearn(self, request: Unlearning) -> Iterator[None]:
        """Propose the bank that never saw a confirmed frame; see `proposals.unlearn`."""
        return self._propose(request, proposals.unlearn)

    def rollback(self, request: Rollback) -> Iterator[None]:
        """Propose a generation that equals an earlier one; see `proposals.rollback`."""
        return self._propose(request, proposals.rollback)

    def age(self, request: Ageing) -> Iterator[None]:
        """Propose that rows leave; see `proposals.age`."""
        return self._propose(request, proposals.age)

    def choose_threshold(self, request: ThresholdChoice) -> Iterator[None]:
        """Propose the threshold that a person chose; see `proposals.choose_threshold`."""
        return self._propose(request, proposals.choose_threshold)

    def unused(self, usage: Mapping[str, UsedRows], *, days: int, today: str) -> tuple[tuple[str, int], ...]:
        """The rows that the ageing policy lets go; see `ageing.unused_rows`."""
        head = self._head
        return unused_rows(head.bank, head.first_bank, head.events, usage, days=days, today=today)

    def commit(self) -> MemoryBank:
        """Write the proposal as the next generation, and go on from it.

        Raises:
            GenerationConflictError: another writer was first; `reopen` and propose anew.
            LearningError: nothing is proposed.
            BankFileError: the store cannot be written.
        """
        head, draft = self._head, self._draft
        if draft is None:
            raise LearningError("nothing is proposed")
        event, bank = draft.event, draft.proposal.bank
        if isinstance(event, ConfirmedGood | Held | ConfirmedDefect):
            stored = head.store.keep(event.frame.name, draft.patches[event.frame.name])
            event = msgspec.structs.replace(event, frame=stored)
        manifest = head.store.create(
            bank,
            event=event,
            before=(head.manifest, head.bank),
            kept=draft.kept,
            learning=LearningState.of(draft.state),
            rejects=head.known.store_rejects(),
        )
        self._head = replace(
            head,
            manifest=manifest,
            bank=bank,
            state=draft.state,
            events=(*head.events, event),
            chain=head.chain_after(event),
            passed=(),
        )
        head.known.take(draft.references)
        del self._passed[: len(event.passed)]
        self._draft = None
        return bank

    def _propose(
        self, request: Asked, propose: Callable[[Head, Asked], Generator[None, None, Draft]]
    ) -> Iterator[None]:
        self._draft = None
        if not request.operator.strip():
            raise LearningError(f"feedback {request.feedback_id!r}: operator is empty, expected who asks for it")
        if request.feedback_id and self.knows(request.feedback_id):
            raise LearningError(f"feedback {request.feedback_id!r}: has been applied already")
        if not isinstance(request, ThresholdChoice | Rollback):
            _check_learns(self._head.store, self._head.first_manifest)
        self._draft = yield from propose(replace(self._head, passed=tuple(self._passed)), request)


def _check_learns(store: GenerationStore, first: Manifest) -> None:
    if not first.calibration:
        raise LearningError(
            f"{store.where}: the calibration frames were not kept with the bank, so no threshold could follow what "
            f"it learns; fit it again"
        )


def _read_head(
    store: GenerationStore,
    manifest: Manifest,
    first_bank: MemoryBank,
    first_manifest: Manifest,
    first: OnlineCoreset,
    known: KnownFrames,
) -> Head:
    bank, events = store.bank(manifest.generation), store.events(manifest.generation)
    if manifest.generation > 1:  # a whole generation is read without those before it
        check_kind(manifest, first_manifest, f"{store.where}/{manifest_name(manifest.generation)}")
    return Head(
        store=store,
        manifest=manifest,
        bank=bank,
        state=state_of(bank, manifest.learning, first),
        first_bank=first_bank,
        first_manifest=first_manifest,
        first=first,
        known=known,
        events=events,
        chain=chain_of(events),
        passed=(),
    )
