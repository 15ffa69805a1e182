"""What a confirmation would make of the bank: a frame is good and learned, or shows a defect that stays known."""

from collections.abc import Generator

from patchline.engine.bank.events import ConfirmedDefect, ConfirmedGood, Held, StoredFrame
from patchline.engine.coreset.online import learning
from patchline.engine.errors import LearningError
from patchline.engine.learning.draft import Draft, Newest
from patchline.engine.learning.requests import Confirmation


def confirm_good(now: Newest, request: Confirmation) -> Generator[None, None, Draft]:
    """Learn a frame; one that would hide a known defect, or looks like a slip to a recipe that asks for it, is held.

    A second person may approve it then, or at once.

    A frame that has been learned already changes no row.

    Raises:
        LearningError: there are no patches, or the one who confirmed a held frame asks again.
    """
    waiting = now.chain.held.get(request.frame)
    confirmed_by, approved_by = request.operator, request.approved_by
    if waiting is not None and approved_by is None:
        confirmed_by, approved_by = waiting.operator, request.operator
    if approved_by is not None and approved_by == confirmed_by:
        raise LearningError(f"frame {request.frame!r}: waits for someone else than {confirmed_by!r} to approve it")
    patches = now.patches(request, waiting)
    references = yield from now.in_step()
    state, delta = yield from learning(now.state, request.frame, patches, request.nearest)
    yield
    event = ConfirmedGood(
        frame=_not_stored(request.frame),
        score=waiting.score if waiting else request.score,
        approved_by=approved_by,
        **now.by(request, confirmed_by),
    )
    preview = yield from now.preview(references, state, event)
    yield
    why = None
    if approved_by is None:
        why = preview.hold or now.doubt(references, request.frame, patches)
    if why is None:
        return now.draft(event, state, preview, delta.kept, {request.frame: patches})
    held = Held(frame=event.frame, score=event.score, held=why, **now.by(request))
    return now.draft_unchanged(held, references, preview, {request.frame: patches}, why)


def confirm_defect(now: Newest, request: Confirmation) -> Generator[None, None, Draft]:
    """Let a frame join the known defects, which no update may hide unseen. No row changes.

    Raises:
        LearningError: there are no patches.
    """
    patches = now.patches(request, now.chain.held.get(request.frame))
    references = yield from now.in_step()
    event = ConfirmedDefect(frame=_not_stored(request.frame), **now.by(request))
    references = references.with_frame(request.frame, "defect", patches)
    preview = yield from now.preview(references, now.state, event)
    return now.draft_unchanged(event, references, preview, {request.frame: patches})


def _not_stored(frame: str) -> StoredFrame:
    """A frame whose embeddings are stored once the proposal is taken."""
    return StoredFrame(name=frame, sha256="", bytes=0)
