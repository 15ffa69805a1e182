"""Records that are wrong in whatever way are read for what they are, or refused."""

import json
import random
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.alarms.applier import mark
from patchline.stream.model.alarm import observation_of
from patchline.stream.model.errors import Reason, RecordError, UnreadableError
from patchline.stream.model.outcome import not_inspected
from patchline.stream.wire.alarms import decode_event
from patchline.stream.wire.cloudevents import Headers
from patchline.stream.wire.feedback import announcement_record, feedback_record, read_announcement, read_feedback
from patchline.stream.wire.results import (
    MAX_ORIGINAL_HEADERS_BYTES,
    dead_letter_record,
    original_headers,
    read_frame_position,
    read_result,
    result_record,
)
from tests.chaos.mutants import mutated_json
from tests.stream.readme_examples import POSITION, examples, headers_of, read
from tests.stream.scripted import frame

Message = TypeVar("Message")


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"ce_id": None}, "ce_id is missing"),
        ({"ce_source": b""}, "ce_source is missing"),
        ({"ce_type": b"io.patchline.result.v1"}, "ce_type is 'io.patchline.result.v1', expected"),
        ({"ce_specversion": None}, "ce_specversion is None, expected '1.0'"),
        ({"ce_time": b"yesterday"}, "ce_time is 'yesterday', expected RFC 3339"),
        ({"ce_time": b"2026-03-02T08:15:30"}, "expected RFC 3339 with a time zone"),
        ({"ce_time": b"0001-01-01T00:00:00+05:00"}, "expected RFC 3339"),
        ({"ce_dataref": b"s3://frames/1"}, "expected one of them"),
        ({"ce_sha256": b"abc"}, "expected 64 hexadecimal digits"),
        ({"ce_recipe": None}, "ce_recipe is missing, and there is no default"),
        ({"ce_id": b"\xff"}, "ce_id is not UTF-8"),
    ],
)
def test_each_wrong_header_is_named(change: dict[str, bytes | None], flaw: str) -> None:
    """A record with a wrong header is a frame with a flaw that says which and what was expected."""
    headers = {**dict(headers_of(examples("frame headers")[0])), **change}
    seen = read([(name, value) for name, value in headers.items() if value is not None])
    assert flaw in (seen.flaw or "")
    assert seen.frame_id
    assert seen.camera


times = st.one_of(st.datetimes().map(str), st.from_regex(r"[0-9TWZ:.+-]{1,40}", fullmatch=True)).map(str.encode)
header = st.tuples(
    st.one_of(
        st.sampled_from(["ce_id", "ce_source", "ce_type", "ce_time", "ce_recipe", "ce_sha256", "content-type", "x"]),
        st.text(st.characters(codec="utf-8"), max_size=10),
    ),
    st.one_of(st.binary(max_size=40), st.none(), times),
)


@given(
    st.lists(header, max_size=12),
    st.one_of(st.none(), st.binary(max_size=50)),
    st.one_of(st.none(), st.binary()),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
)
def test_any_record_is_a_frame_and_any_frame_a_dead_letter(
    headers: list[tuple[str, bytes | None]], value: bytes | None, key: bytes | None, timestamp_ms: int | None
) -> None:
    """Whatever arrives is a frame with an id and a camera, and can be dead-lettered and reported."""
    seen = read(headers, value, key=key, timestamp_ms=timestamp_ms)
    assert seen.frame_id
    assert seen.camera
    outcome = not_inspected(seen, UnreadableError(Reason.CORRUPT, "x"), None)
    record = dead_letter_record(outcome, 1000)
    assert record is not None
    assert record[1] == (value or b"")
    assert read_result(result_record(outcome.result)[2], result_record(outcome.result)[1]).frame_id == seen.frame_id


def test_a_flood_of_headers_is_cut() -> None:
    """A dead letter repeats at most 64 KiB of its frame's headers."""
    seen = frame("a", b"x", headers=tuple((f"h{n}", bytes(1000)) for n in range(200)))
    record = dead_letter_record(not_inspected(seen, UnreadableError(Reason.EMPTY, "x"), None), 1000)
    assert record is not None
    kept = original_headers(record[2])
    assert 60 <= len(kept) < 66
    assert sum(len(name) + len(value) for name, value in kept) <= MAX_ORIGINAL_HEADERS_BYTES


def test_records_of_another_kind_are_no_results() -> None:
    """A result is only read from a record that says it is one."""
    with pytest.raises(RecordError, match=r"expected 'io\.patchline\.result\.v1'"):
        read_result(headers_of(examples("frame headers")[0]), b"{}")
    with pytest.raises(RecordError, match="missing required field"):
        read_result(headers_of(examples("result headers")[0]), b"{}")
    with pytest.raises(RecordError, match="no alarm event"):
        decode_event('{"camera": 3}')


@pytest.mark.parametrize(
    ("kind", "read_one", "write"),
    [
        ("result", read_result, lambda result: (result_record(result), mark(observation_of(result, POSITION), ""))),
        ("feedback", read_feedback, feedback_record),
        ("generation", read_announcement, announcement_record),
    ],
    ids=["result", "feedback", "generation"],
)
def test_broken_messages_are_read_or_refused(
    kind: str, read_one: Callable[[Headers, bytes], Message], write: Callable[[Message], object]
) -> None:
    """Nothing else comes of them; and what is read can be written, and follows the alarms."""
    headers, given = headers_of(examples(f"{kind} headers")[0]), json.loads(examples(kind)[0])
    draw, read = random.Random(1), 0
    for _ in range(400):
        try:
            found = read_one(headers, mutated_json(given, draw))
        except RecordError:
            continue
        read += 1
        write(found)
    assert 40 < read < 360


@pytest.mark.parametrize("offset", ["-1", "", "٣", "1" * 5000])
def test_a_position_that_is_no_number_is_none(offset: str) -> None:
    """Whatever its header says."""
    headers = [("ce_frametopic", b"frames"), ("ce_framepartition", b"0"), ("ce_frameoffset", offset.encode())]
    assert read_frame_position(headers) is None
