import json
from datetime import UTC, datetime

import pytest

from patchline.stream.model.errors import RecordError
from patchline.stream.model.feedback import (
    Feedback,
    FeedbackOutcome,
    FeedbackReply,
    FeedbackVerdict,
    GenerationAnnounced,
)
from patchline.stream.model.result import GenerationRef
from patchline.stream.wire.feedback import (
    announcement_record,
    feedback_record,
    parse_feedback,
    read_announcement,
    read_feedback,
    read_reply,
    reply_record,
)

NOW = datetime(2026, 3, 2, 8, 15, 30, tzinfo=UTC)
GENERATION = GenerationRef(number=4, sha256="a" * 64)
FEEDBACK = Feedback(
    feedback_id="1",
    recipe="plate",
    frame_id="f",
    verdict=FeedbackVerdict.CONFIRM_GOOD,
    operator="ada",
    time=NOW,
)
REPLY = FeedbackReply(feedback_id="1", recipe="plate", outcome=FeedbackOutcome.LEARNED, time=NOW)
ANNOUNCED = GenerationAnnounced(recipe="plate", generation=GENERATION, rows=9, threshold=2.5, time=NOW)


def headers(kind: str, name: str, source: str) -> dict[str, bytes]:
    return {
        "ce_specversion": b"1.0",
        "ce_type": kind.encode(),
        "ce_id": name.encode(),
        "ce_source": source.encode(),
        "ce_time": b"2026-03-02T08:15:30Z",
        "content-type": b"application/json",
    }


def test_each_message_comes_back_from_its_record() -> None:
    """All are keyed by recipe; ids and sources are those of who says it."""
    key, value, made = feedback_record(FEEDBACK)
    assert (key, read_feedback(made, value)) == (b"plate", FEEDBACK)
    assert dict(made) == headers("io.patchline.feedback.v1", "1", "ada")
    key, value, made = reply_record(REPLY)
    assert (key, read_reply(made, value)) == (b"plate", REPLY)
    assert dict(made) == headers("io.patchline.feedbackreply.v1", "1", "patchline/plate")
    key, value, made = announcement_record(ANNOUNCED)
    assert (key, read_announcement(made, value)) == (b"plate", ANNOUNCED)
    assert dict(made) == headers("io.patchline.generation.v1", "plate/4", "patchline/plate")


def test_a_message_of_another_type_is_refused() -> None:
    """The type decides, and not whether the value could be read."""
    _, value, made = feedback_record(FEEDBACK)
    for read in (read_reply, read_announcement):
        with pytest.raises(RecordError, match=r"ce_type is 'io\.patchline\.feedback\.v1', expected"):
            read(made, value)
    with pytest.raises(RecordError, match="ce_type is None"):
        read_feedback([], value)


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{}", b"\xff", b'{"feedback_id": 1}'])
def test_a_value_that_is_no_message_is_refused(value: bytes | None) -> None:
    """The error says what it should have been."""
    _, _, made = feedback_record(FEEDBACK)
    with pytest.raises(RecordError, match=r"^the value is no Feedback: "):
        read_feedback(made, value)
    with pytest.raises(RecordError, match=r"^the value is no Feedback: "):
        parse_feedback(value or b"")


def test_feedback_over_http_is_the_same_json() -> None:
    """A body is read as the value of a record; a field that is not known is refused."""
    value = feedback_record(FEEDBACK)[1]
    assert parse_feedback(value) == FEEDBACK
    with pytest.raises(RecordError, match="unknown field"):
        parse_feedback(json.dumps(json.loads(value) | {"more": 1}).encode())
