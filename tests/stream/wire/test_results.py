from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from patchline.engine.types import Verdict
from patchline.stream.model.errors import Reason, RecordError, UnreadableError
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.outcome import Outcome, not_inspected
from patchline.stream.model.result import Result
from patchline.stream.wire.results import (
    DEAD_LETTER,
    MAX_ORIGINAL_HEADERS_BYTES,
    RESULT,
    dead_letter_record,
    original_headers,
    read_frame_position,
    read_result,
    result_record,
)
from tests.stream.scripted import frame, picture

NOW = datetime(2026, 3, 2, 8, 15, 30, tzinfo=UTC)
POSITION = Position("frames", 2, 7)


def result(**more: Any) -> Result:
    fields: dict[str, Any] = {"frame_id": "f", "camera": "cam", "recipe": "plate", "time": NOW, "inspected_at": NOW}
    return Result(verdict=Verdict.PASS, latency_ms=1.5, **(fields | more))


def unread(given: Frame, sha256: str | None = "b" * 64, detail: str = "it ends early") -> Outcome:
    error = UnreadableError(Reason.TRUNCATED, detail)
    error.sha256 = sha256
    return not_inspected(given, error, None)


def letter(outcome: Outcome, most: int = 1000) -> tuple[bytes, bytes, dict[str, bytes]]:
    record = dead_letter_record(outcome, most)
    assert record is not None
    return record[0], record[1], dict(record[2])


def test_a_result_comes_back_from_its_record() -> None:
    """Keyed by camera, JSON, and headers that say where its frame was."""
    key, value, headers = result_record(result(), POSITION)
    assert key == b"cam"
    assert read_result(headers, value) == result()
    assert read_frame_position(headers) == POSITION
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"io.patchline.result.v1",
        "ce_id": b"f",
        "ce_source": b"patchline/cam",
        "ce_time": b"2026-03-02T08:15:30Z",
        "content-type": b"application/json",
        "ce_frametopic": b"frames",
        "ce_framepartition": b"2",
        "ce_frameoffset": b"7",
    }
    assert RESULT == "io.patchline.result.v1"


def test_the_id_of_the_topic_is_told_where_it_is_known() -> None:
    """Results of 0.1.0 have none, nor do those of brokers that tell none."""
    position = Position("frames", 2, 7, "0pQ4b4fLQ0C1W5wVw6uG2g")
    _, _, headers = result_record(result(), position)
    assert ("ce_frametopicid", b"0pQ4b4fLQ0C1W5wVw6uG2g") in headers
    assert read_frame_position(headers) == position
    dead = letter(unread(frame("f", b"bytes", position=position)))[2]
    assert dead["ce_frametopicid"] == b"0pQ4b4fLQ0C1W5wVw6uG2g"
    without = result_record(result(), POSITION)[2]
    assert "ce_frametopicid" not in dict(without)
    assert read_frame_position(without) == POSITION


def test_what_compares_across_cameras_is_in_the_record() -> None:
    """The score's ratio and p-value are numbers in the JSON; without a ratio, or from 0.1.0, the keys are absent."""
    told = result(score=3.0, threshold=2.0, score_ratio=1.5, p_value=0.25)
    _, value, headers = result_record(told)
    assert b'"threshold":2.0,"score_ratio":1.5,"p_value":0.25' in value
    assert read_result(headers, value) == told
    _, value, _ = result_record(result(score=3.0, threshold=0.0, p_value=0.25))
    assert b"score_ratio" not in value
    _, value, headers = result_record(result(score=3.0, threshold=2.0))
    assert (b"score_ratio" in value, b"p_value" in value) == (False, False)
    assert read_result(headers, value).p_value is None


def test_a_result_of_a_frame_that_cannot_be_read_again_has_no_position() -> None:
    """A live camera's results say nothing of it."""
    _, _, headers = result_record(result())
    assert read_frame_position(headers) is None
    assert not any(name.startswith("ce_frame") for name, _ in headers)


@pytest.mark.parametrize(
    "changed",
    [
        {"ce_frametopic": None},
        {"ce_framepartition": None},
        {"ce_frameoffset": None},
        {"ce_framepartition": b"-1"},
        {"ce_frameoffset": b"1" * 19},
        {"ce_frameoffset": b"7x"},
    ],
)
def test_positions_that_are_none(changed: dict[str, bytes | None]) -> None:
    """Every part has to be there, and numbers are digits that fit."""
    headers = dict(result_record(result(), POSITION)[2]) | changed
    assert read_frame_position([(name, value) for name, value in headers.items() if value is not None]) is None
    longest = dict(result_record(result(), POSITION)[2]) | {"ce_frameoffset": b"1" * 18}
    assert read_frame_position(list(longest.items())) == Position("frames", 2, int("1" * 18))


def test_what_is_no_result_is_refused() -> None:
    """Another type, a header that is no text, or a value that is no result."""
    _, value, headers = result_record(result())
    for other in ([("ce_type", b"io.patchline.frame.v1")], [], [*headers, ("ce_note", b"\xff")]):
        with pytest.raises(RecordError, match="ce_type is"):
            read_result(other, value)
    for bad in (None, b"", b"{}", value[:-1], b"\xff", value.replace(b'"pass"', b'"perhaps"')):
        with pytest.raises(RecordError, match="the value is no result"):
            read_result(headers, bad)


def test_a_dead_letter_carries_the_bytes_and_why() -> None:
    """It repeats the frame's headers, names its position and hash, and says the reason."""
    given = frame("f", b"bytes", position=POSITION, headers=(("ce_id", b"f"), ("x", b"y")), content_type="image/png")
    outcome = unread(given)
    key, value, headers = letter(outcome, most=5)
    assert (key, value) == (b"cam-1", b"bytes")
    time = headers.pop("ce_time")
    assert time.endswith(b"Z")
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_type": b"io.patchline.deadletter.v1",
        "ce_id": b"f",
        "ce_source": b"patchline/cam-1",
        "content-type": b"image/png",
        "ce_recipe": b"plate",
        "ce_reason": b"truncated",
        "ce_detail": b"it ends early",
        "ce_frametopic": b"frames",
        "ce_framepartition": b"2",
        "ce_frameoffset": b"7",
        "ce_framebytes": b"5",
        "ce_sha256": b"b" * 64,
        "frame-ce_id": b"f",
        "frame-x": b"y",
    }
    assert original_headers(list(headers.items())) == [("ce_id", b"f"), ("x", b"y")]
    assert DEAD_LETTER == "io.patchline.deadletter.v1"


def test_a_frame_too_large_for_its_dead_letter_stays_where_it_is() -> None:
    """The letter is empty and says where the bytes are, and how many."""
    _, value, headers = letter(unread(frame("f", b"bytes", position=POSITION)), most=4)
    assert (value, headers["ce_dataref"], headers["ce_framebytes"]) == (b"", b"kafka:frames/2/7", b"5")
    _, value, headers = letter(unread(frame("f", b"bytes")), most=4)
    assert value == b""
    assert "ce_dataref" not in headers


def test_a_frame_that_came_by_reference_is_named_by_it() -> None:
    """The letter repeats the reference and the hash that the producer sent; bytes it has none."""
    given = replace(frame("f", b"", reference="s3://b/f"), content_sha256="c" * 64)
    _, value, headers = letter(unread(given))
    assert (value, headers["ce_dataref"], headers["ce_sha256"]) == (b"", b"s3://b/f", b"c" * 64)
    assert "ce_framebytes" not in headers
    both = replace(given, payload=b"bytes")
    _, value, headers = letter(unread(both))
    assert (value, headers["ce_framebytes"], headers["ce_sha256"]) == (b"bytes", b"5", b"b" * 64)


def test_a_record_that_cannot_be_decoded_is_named_by_its_position() -> None:
    """Bytes it has none: neither their size nor their hash is known, but for what the producer sent."""
    given = frame("f", b"", position=POSITION, flaw="broken", flaw_reason=Reason.UNDECODABLE_RECORD)
    _, value, headers = letter(unread(given))
    assert (value, headers["ce_dataref"]) == (b"", b"kafka:frames/2/7")
    assert not {"ce_framebytes", "ce_sha256"} & headers.keys()
    _, _, headers = letter(unread(replace(given, content_sha256="c" * 64)))
    assert headers["ce_sha256"] == b"c" * 64
    _, value, headers = letter(unread(frame("f", b"", position=POSITION, flaw="no camera")))
    assert (headers["ce_framebytes"], "ce_dataref" in headers) == (b"0", False)


def test_pixels_have_no_dead_letter() -> None:
    """A live camera's frame has no bytes to keep."""
    assert dead_letter_record(unread(frame("f", image=picture(9))), 1000) is None


@pytest.mark.parametrize("content_type", [None, "", "image/\npng"])
def test_a_content_type_that_cannot_be_repeated(content_type: str | None) -> None:
    """Bytes of which nothing is known."""
    given = frame("f", b"x", content_type=content_type)
    assert letter(unread(given))[2]["content-type"] == b"application/octet-stream"


def test_a_result_without_a_reason_is_called_corrupt() -> None:
    """A letter always has a reason."""
    outcome = unread(frame("f", b"x"))
    outcome = replace(outcome, result=msgspec.structs.replace(outcome.result, reason=None))
    assert letter(outcome)[2]["ce_reason"] == b"corrupt"


def test_original_headers_are_repeated_up_to_a_bound() -> None:
    """Names and values count; from the first that does not fit on, the rest is left out."""
    half = b"x" * (MAX_ORIGINAL_HEADERS_BYTES // 2 - 1)
    given = frame("f", b"x", headers=(("a", half), ("b", half), ("c", b""), ("d", b"")))
    kept = [name for name in letter(unread(given))[2] if name.startswith("frame-")]
    assert kept == ["frame-a", "frame-b"]
    assert MAX_ORIGINAL_HEADERS_BYTES == 65536
