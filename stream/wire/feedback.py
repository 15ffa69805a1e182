"""Feedback, its replies and announced generations as CloudEvents, keyed by recipe.

Examples are in `stream/wire/README.md`.
"""

from datetime import datetime
from typing import Final, TypeVar

import msgspec

from patchline.stream.model.errors import RecordError
from patchline.stream.model.feedback import Feedback, FeedbackReply, GenerationAnnounced
from patchline.stream.support.json_text import MAX_JSON_BYTES, decode_json
from patchline.stream.wire.cloudevents import Headers, Record, attributes_of, encode_attributes, rfc3339

FEEDBACK: Final = "io.patchline.feedback.v1"
FEEDBACK_REPLY: Final = "io.patchline.feedbackreply.v1"
GENERATION: Final = "io.patchline.generation.v1"
MAX_ANNOUNCEMENT_BYTES = 64 * 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024
"""A reply repeats the names of known defects; an announcement, names alone."""

Message = TypeVar("Message", Feedback, FeedbackReply, GenerationAnnounced)


def feedback_record(feedback: Feedback) -> Record:
    """Feedback as a record."""
    return _record(FEEDBACK, feedback.feedback_id, feedback.operator, feedback.recipe, feedback.time, feedback)


def read_feedback(headers: Headers, value: bytes | None) -> Feedback:
    """The feedback in a record; raises RecordError naming the field, what was found and what was expected."""
    return _read_event(FEEDBACK, Feedback, headers, value)


def parse_feedback(value: bytes) -> Feedback:
    """The feedback in a JSON object; raises RecordError as `read_feedback`."""
    return _decode(Feedback, value)


def reply_record(reply: FeedbackReply) -> Record:
    """A reply as a record: its `ce_id` is the feedback's."""
    source = f"patchline/{reply.recipe}"
    return _record(FEEDBACK_REPLY, reply.feedback_id, source, reply.recipe, reply.time, reply)


def read_reply(headers: Headers, value: bytes | None) -> FeedbackReply:
    """The reply in a record; raises RecordError."""
    return _read_event(FEEDBACK_REPLY, FeedbackReply, headers, value, MAX_REPLY_BYTES)


def announcement_record(announced: GenerationAnnounced) -> Record:
    """A generation as a record."""
    source = f"patchline/{announced.recipe}"
    name = f"{announced.recipe}/{announced.generation.number}"
    return _record(GENERATION, name, source, announced.recipe, announced.time, announced)


def read_announcement(headers: Headers, value: bytes | None) -> GenerationAnnounced:
    """The generation in a record; raises RecordError."""
    return _read_event(GENERATION, GenerationAnnounced, headers, value, MAX_ANNOUNCEMENT_BYTES)


def _record(kind: str, name: str, source: str, recipe: str, time: datetime, value: msgspec.Struct) -> Record:
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": kind,
        "ce_id": name,
        "ce_source": source,
        "ce_time": rfc3339(time),
        "content-type": "application/json",
    }
    return recipe.encode(), msgspec.json.encode(value), encode_attributes(attributes)


def _read_event(
    kind: str, struct: type[Message], headers: Headers, value: bytes | None, at_most_bytes: int = MAX_JSON_BYTES
) -> Message:
    found = attributes_of(headers, []).get("ce_type")
    if found != kind:
        raise RecordError(f"the header ce_type is {found!r}, expected {kind!r}")
    return _decode(struct, value or b"", at_most_bytes)


def _decode(struct: type[Message], value: bytes, at_most_bytes: int = MAX_JSON_BYTES) -> Message:
    try:
        return decode_json(value, struct, at_most_bytes=at_most_bytes)
    except msgspec.DecodeError as error:
        raise RecordError(f"the value is no {struct.__name__}: {error}") from error
