"""Feedback of operators, what became of it, and announced generations: the JSON values of their topics.

`wire/feedback.py` puts CloudEvents headers around them.
"""

import re
from datetime import datetime
from enum import StrEnum

import msgspec

from patchline.stream.model.checks import is_text
from patchline.stream.model.result import GenerationRef, check_zone

MAX_NAME_CHARACTERS = 1024
"""The longest name of a person, a frame, a recipe or a request."""
MAX_REASON_CHARACTERS = 2000
"""The longest reason that a person gives: it becomes part of a bank's history."""
_IMAGE_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def check_name(field: str, value: str) -> None:
    """Refuse a name that is blank or too long, or that nothing can write.

    Raises:
        ValueError: names the field, what was found and what was expected.
    """
    if not value.strip() or len(value) > MAX_NAME_CHARACTERS:
        found = f"{value[:40]!r}" if len(value) <= 40 else f"{value[:40]!r}... of {len(value):,} characters"
        raise ValueError(f"{field} is {found}, expected 1 to {MAX_NAME_CHARACTERS} characters")
    if not is_text(value):
        raise ValueError(f"{field} is {value[:40]!r}, expected UTF-8")


def check_reason(value: str) -> None:
    """Refuse a reason that is too long, or that nothing can write.

    Raises:
        ValueError: says how long it is and what was expected.
    """
    if len(value) > MAX_REASON_CHARACTERS:
        raise ValueError(f"reason has {len(value):,} characters, expected at most {MAX_REASON_CHARACTERS:,}")
    if not is_text(value):
        raise ValueError("reason has bytes that are no text, expected UTF-8")


class FeedbackVerdict(StrEnum):
    """What an operator says of a frame."""

    CONFIRM_GOOD = "confirm_good"
    """The frame shows a good part: the bank shall learn it."""
    CONFIRM_DEFECT = "confirm_defect"
    """The frame shows a defect: no update may hide it."""
    UNLEARN = "unlearn"
    """The frame was confirmed by mistake: the bank shall be as if it had never seen it."""


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an operator says of one frame (CloudEvents type `io.patchline.feedback.v1`).

    The same `feedback_id` is applied once, however often it arrives.
    """

    feedback_id: str
    recipe: str
    frame_id: str
    verdict: FeedbackVerdict
    operator: str
    time: datetime
    """When the operator said it."""
    reason: str = ""
    approved_by: str | None = None
    """The name of a second person, who lets through what was held; what counts is the second identity."""
    image: bytes | None = None
    """The encoded image (base64 in JSON); None: the evidence store has the frame."""
    image_sha256: str | None = None
    """The SHA-256 of the image that was seen, in hexadecimal: another image under the same id is refused."""
    identity: str | None = None
    """Who is known to say it, by token or signature; None: nobody is. Only what a worker has signed may name it."""

    def __post_init__(self) -> None:
        for name in ("feedback_id", "recipe", "frame_id", "operator"):
            check_name(name, getattr(self, name))
        check_reason(self.reason)
        check_zone("time", self.time)
        if self.approved_by is not None:
            if self.approved_by in ("", self.operator):
                raise ValueError(f"approved_by is {self.approved_by!r}, expected a person other than operator")
            check_name("approved_by", self.approved_by)
        if self.image_sha256 is not None and not _IMAGE_SHA256.fullmatch(self.image_sha256):
            raise ValueError(f"image_sha256 is {self.image_sha256[:80]!r}, expected 64 hexadecimal digits")
        if self.identity is not None and not 0 < len(self.identity) <= 128:
            raise ValueError(f"identity is {self.identity[:40]!r}, expected 1 to 128 characters")


class FeedbackOutcome(StrEnum):
    """What became of feedback."""

    LEARNED = "learned"
    """A new generation judges, or soon will in every worker."""
    UNCHANGED = "unchanged"
    """It had been applied before."""
    HELD = "held"
    """It waits for a second person, for the reason in `detail`."""
    REFUSED = "refused"
    """It cannot be applied; `detail` says what was found and what was expected."""


class UpdatePreview(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an update does, known before it is taken."""

    rows_added: int
    rows_removed: int
    threshold_before: float
    threshold_after: float
    cleared: tuple[str, ...]
    """Recent rejects that pass afterwards, of `rejects` looked at."""
    rejects: int
    hidden: tuple[str, ...]
    """Known defects that are rejected before and pass afterwards, of `defects`."""
    defects: int
    hold: str | None = None
    """Why the update waits for a second person."""
    defect_ratios: dict[str, float | None] | msgspec.UnsetType = msgspec.UNSET
    """The score of each known defect over the threshold, both afterwards; not set by 0.1.0."""


class FeedbackReply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The answer to one feedback (CloudEvents type `io.patchline.feedbackreply.v1`)."""

    feedback_id: str
    recipe: str
    outcome: FeedbackOutcome
    time: datetime
    frame_id: str | None = None
    verdict: FeedbackVerdict | None = None
    operator: str | None = None
    identity: str | None = None
    """Whose feedback it was, where that is known."""
    detail: str = ""
    generation: GenerationRef | None = None
    """The recipe's newest generation once the feedback was applied."""
    preview: UpdatePreview | None = None


class GenerationAnnounced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A recipe's newest generation is in the store (CloudEvents type `io.patchline.generation.v1`)."""

    recipe: str
    generation: GenerationRef
    rows: int
    threshold: float
    time: datetime
    feedback_id: str | None = None
    operator: str | None = None

    def __post_init__(self) -> None:
        check_zone("time", self.time)
