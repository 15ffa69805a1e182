"""What each request would make of the bank: one function a request, from the head of the chain to a draft.

A frame is learned or joins the known defects; what was confirmed is taken back; an earlier generation is taken again;
unused rows leave; a threshold is chosen. All work in steps, between which frames may be inspected, and write nothing.
"""

from collections.abc import Generator
from dataclasses import replace
from math import inf

from patchline.engine.bank.events import (
    Aged,
    ConfirmedDefect,
    ConfirmedGood,
    Held,
    RolledBack,
    ThresholdChosen,
    Unlearned,
)
from patchline.engine.bank.state import state_of
from patchline.engine.bank.store import stored_frame
from patchline.engine.coreset.online import learn_steps
from patchline.engine.errors import LearningError
from patchline.engine.learning.ageing import fit_rows_kept
from patchline.engine.learning.draft import Draft, Head
from patchline.engine.learning.requests import (
    ANYBODY,
    Ageing,
    Confirmation,
    Proposal,
    Rollback,
    ThresholdChoice,
    Unlearning,
)


def confirm_good(head: Head, request: Confirmation) -> Generator[None, None, Draft]:
    """Learn a frame, or hold it until a second person approves it.

    It is held where it would hide a known defect, or where the recipe asks for doubt and it looks like a defect that
    was confirmed by mistake. The second person may approve it later, or within the same request. A frame that has been
    learned already changes no row.

    Raises:
        LearningError: there are no patches, or the one who confirmed a held frame asks again.
    """
    waiting = head.chain.held.get(request.frame)
    confirmed_by, approved_by = _people(request, waiting)
    patches = head.patches(request, waiting)
    references = yield from head.sync_steps()
    state, delta = yield from learn_steps(head.state, request.frame, patches, request.nearest)
    yield
    event = ConfirmedGood(
        frame=stored_frame(request.frame, patches),
        score=waiting.score if waiting else request.score,
        approved_by=approved_by,
        **head.by(request, confirmed_by),
    )
    preview = yield from head.preview_steps(references, state, event)
    yield
    why = None
    if approved_by is None:
        why = preview.hold or head.doubt(references, request.frame, patches)
    if why is None:
        return head.draft(event, state, preview, delta.kept, {request.frame: patches})
    held = Held(frame=event.frame, score=event.score, held=why, **head.by(request))
    return head.draft_unchanged(held, references, preview, {request.frame: patches}, why)


def _people(request: Confirmation, waiting: Held | None) -> tuple[str, str | None]:
    """Who confirmed a frame, and who approved it where it had been held.

    Raises:
        LearningError: whoever approves is, or may be, the one who confirmed.
    """
    confirmed_by, approved_by = request.operator, request.approved_by
    if request.identity and waiting is None:
        return confirmed_by, None  # one identity is one person, whatever names it gives
    if waiting is not None and (request.identity or approved_by is None):
        confirmed_by, approved_by = waiting.operator, approved_by or request.operator
    if approved_by is not None and approved_by == confirmed_by:
        raise LearningError(f"frame {request.frame!r}: waits for someone else than {confirmed_by!r} to approve it")
    if waiting is not None and request.identity:
        if request.identity == ANYBODY:
            raise LearningError(
                f"frame {request.frame!r}: waits for a second person, and anybody may have sent this; "
                "expected feedback by a token of its own, or signed"
            )
        if request.identity == waiting.identity:
            raise LearningError(
                f"frame {request.frame!r}: waits for another identity than {request.identity!r} to approve it"
            )
    return confirmed_by, approved_by


def confirm_defect(head: Head, request: Confirmation) -> Generator[None, None, Draft]:
    """Let a frame join the known defects, which no update may hide unseen. No row changes.

    Raises:
        LearningError: there are no patches.
    """
    patches = head.patches(request, head.chain.held.get(request.frame))
    references = yield from head.sync_steps()
    event = ConfirmedDefect(frame=stored_frame(request.frame, patches), **head.by(request))
    references = references.with_frame(request.frame, "defect", patches)
    preview = yield from head.preview_steps(references, head.state, event)
    return head.draft_unchanged(event, references, preview, {request.frame: patches})


def unlearn(head: Head, request: Unlearning) -> Generator[None, None, Draft]:
    """Make the bank that never saw a confirmed frame: the log of events, replayed without it.

    A frame that waits in quarantine, or is a known defect, is only taken from there.

    Raises:
        LearningError: the frame is of the fit, or unknown.
    """
    name, chain = request.frame, head.chain
    if name not in chain.frames and name not in chain.defects and name not in chain.held:
        if name in {frame.name for frame in head.first_bank.frames}:
            raise LearningError(f"frame {name!r} is part of the fit: unlearning it takes a refit")
        raise LearningError(f"frame {name!r} has been neither learned, nor held, nor named a defect")
    references = (yield from head.sync_steps()).without_frame(name, "defect")
    event = Unlearned(frame=name, **head.by(request))
    state = head.state
    if name in chain.frames:
        state = yield from head.replay_steps(event)
    preview = yield from head.preview_steps(references, state, event)
    return head.draft(event, state, preview)


def rollback(head: Head, request: Rollback) -> Generator[None, None, Draft]:
    """Make a generation that equals an earlier one in rows and threshold; known defects stay known.

    Raises:
        LearningError: there is no such generation before the newest.
        BankFileError: its files are truncated or altered.
    """
    if not 1 <= request.generation < head.bank.generation:
        raise LearningError(
            f"generation {request.generation}: expected one before the newest, 1 to {head.bank.generation - 1}"
        )
    earlier = head.store.bank(request.generation)
    state = state_of(earlier, head.store.manifest(request.generation).learning, head.first)
    yield
    references = yield from head.sync_steps()
    event = RolledBack(to=request.generation, **head.by(request))
    preview = yield from head.preview_steps(references, state, event, earlier.threshold)
    bank = replace(earlier, generation=head.bank.generation + 1, created=request.time)
    return Draft(proposal=Proposal(bank=bank, preview=preview), event=event, state=state, references=preview.references)


def age(head: Head, request: Ageing) -> Generator[None, None, Draft]:
    """Let rows leave, and with them what they stood for; what remains is learned again.

    Raises:
        LearningError: one of the rows is not there, or too few of a fold of the fit would be left.
    """
    bank, first = head.bank, head.first_bank
    present = {bank.provenance(row) for row in range(len(bank.rows))}
    if unknown := set(request.rows) - present:
        raise LearningError(f"row {min(unknown)}: is not in generation {bank.generation}")
    for fold, (rows, least) in enumerate(fit_rows_kept(first)):
        left = len((rows & present) - set(request.rows))
        if rows & set(request.rows) and left < least:
            where = "the fit" if first.folds == 1 else f"fold {fold} of the fit"
            raise LearningError(f"{left} rows of {where} would be left, expected {least} or more of {len(rows)}")
    references = yield from head.sync_steps()
    event = Aged(rows=request.rows, **head.by(request))
    state = yield from head.replay_steps(event)
    preview = yield from head.preview_steps(references, state, event)
    return head.draft(event, state, preview)


def choose_threshold(head: Head, request: ThresholdChoice) -> Generator[None, None, Draft]:
    """Take the threshold that a person chose; no row changes.

    A rate is followed through every later generation, a value stays until another is chosen. It is taken also where it
    lets known defects pass, as a rollback is: the preview names them, and whoever chose it has seen that or answers for
    it.

    Raises:
        LearningError: neither a rate nor a value is chosen, or both, or one that no threshold can have.
        CalibrationError: the good frames are too few to aim at the rate; the message names the lowest that they can.
    """
    event = ThresholdChosen(
        rate=request.rate,
        value=request.value,
        evaluation_sha256=request.evaluation_sha256,
        **head.by(request),
    )
    if (event.rate is None) == (event.value is None):
        raise LearningError("a threshold is chosen by a false-reject rate or by a value: expected one of the two")
    if event.value is not None and not 0 < event.value < inf:
        raise LearningError(f"threshold {event.value:g}: expected a finite value above 0, as scores are distances")
    chain = head.chain_after(event)
    if event.rate is not None:
        head.check_rate(event.rate, chain)
    references = yield from head.sync_steps()
    preview = yield from head.preview_steps(references, head.state, event)
    calibration = head.calibration(head.state, preview.calibration_scores, chain)
    return head.draft_unchanged(event, preview.references, preview, {}, calibration=calibration)
