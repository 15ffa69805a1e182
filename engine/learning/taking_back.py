"""What taking something away would make of the bank: a frame unlearned, a generation rolled back, rows aged."""

from collections.abc import Generator
from dataclasses import replace

from patchline.engine.bank.events import Aged, RolledBack, Unlearned
from patchline.engine.bank.state import state_of
from patchline.engine.errors import LearningError
from patchline.engine.learning.ageing import fit_rows_kept
from patchline.engine.learning.draft import Draft, Newest
from patchline.engine.learning.requests import Ageing, Proposal, Rollback, Unlearning


def unlearn(now: Newest, request: Unlearning) -> Generator[None, None, Draft]:
    """Make the bank that never saw a confirmed frame: the log of events, replayed without it.

    A frame that waits in quarantine, or is a known defect, is only taken from there.

    Raises:
        LearningError: the frame is of the fit, or unknown.
    """
    name, chain = request.frame, now.chain
    if name not in chain.frames and name not in chain.defects and name not in chain.held:
        if name in {frame.name for frame in now.first_bank.frames}:
            raise LearningError(f"frame {name!r} is part of the fit: unlearning it takes a refit")
        raise LearningError(f"frame {name!r} has been neither learned, nor held, nor named a defect")
    references = (yield from now.in_step()).without_frame(name, "defect")
    event = Unlearned(frame=name, **now.by(request))
    state = now.state
    if name in chain.frames:
        state = yield from now.replay(event)
    preview = yield from now.preview(references, state, event)
    return now.draft(event, state, preview)


def rollback(now: Newest, request: Rollback) -> Generator[None, None, Draft]:
    """Make a generation that equals an earlier one in rows and threshold; known defects stay known.

    Raises:
        LearningError: there is no such generation before the newest.
        BankFileError: its files are truncated or altered.
    """
    if not 1 <= request.generation < now.bank.generation:
        raise LearningError(
            f"generation {request.generation}: expected one before the newest, 1 to {now.bank.generation - 1}"
        )
    earlier = now.store.bank(request.generation)
    state = state_of(earlier, now.store.manifest(request.generation).learning, now.first)
    yield
    references = yield from now.in_step()
    event = RolledBack(to=request.generation, **now.by(request))
    preview = yield from now.preview(references, state, event, earlier.threshold)
    bank = replace(earlier, generation=now.bank.generation + 1, created=request.time)
    return Draft(proposal=Proposal(bank=bank, preview=preview), event=event, state=state, references=preview.references)


def age(now: Newest, request: Ageing) -> Generator[None, None, Draft]:
    """Let rows leave, and with them what they stood for; what remains is learned again.

    Raises:
        LearningError: one of the rows is not there, or too few of the fit would be left.
    """
    bank, first = now.bank, now.first_bank
    there = {bank.provenance(row) for row in range(len(bank.rows))}
    if unknown := set(request.rows) - there:
        raise LearningError(f"row {min(unknown)}: is not in generation {bank.generation}")
    fitted = {first.provenance(row) for row in range(len(first.rows))}
    left, least = len((fitted & there) - set(request.rows)), fit_rows_kept(first)
    if fitted & set(request.rows) and left < least:
        raise LearningError(f"{left} rows of the fit would be left, expected {least} or more of {len(fitted)}")
    references = yield from now.in_step()
    event = Aged(rows=request.rows, **now.by(request))
    state = yield from now.replay(event)
    preview = yield from now.preview(references, state, event)
    return now.draft(event, state, preview)
