"""Records that stand for others are read as records at their offsets, and told from all others."""

from types import SimpleNamespace

import pytest

from patchline.stream.kafka.batches import placeholders as module
from patchline.stream.kafka.batches.layout import batch_of, blank_header, read_header
from patchline.stream.kafka.batches.placeholders import (
    MOST_PLACEHOLDERS,
    decoded_headers,
    hole,
    own_headers,
    placeholder,
    placeholders,
    undecodable,
)
from patchline.stream.model.errors import RecordError
from tests.stream.kafka.batches.crafted import good, read


def test_each_offset_has_one_and_says_why() -> None:
    """Without a value; and time and transaction are those of the batch."""
    header = read_header(good(10, b"a", b"b", b"c", b"d", codec=1, producer=5))
    batch = placeholders(header, 11, 14, "it is broken")
    found = read(batch, 11)
    assert [(record.offset, record.value, undecodable(record.headers)) for record in found.records] == [
        (offset, None, "it is broken") for offset in (11, 12, 13)
    ]
    assert found.position == 14
    assert found.records[0].timestamp == header.first_timestamp
    assert read(batch, 11, [(5, 10)]).records == []


def test_no_more_are_made_than_memory_is_meant_for() -> None:
    """A batch may have two thousand million offsets."""
    assert read_header(placeholders(blank_header(5), 5, 2**31, "x")).next_offset == 5 + MOST_PLACEHOLDERS


def test_what_is_known_of_a_record_is_in_it() -> None:
    """Its key, its time, its headers; the name of one that is not UTF-8 is written out."""
    odd = placeholder(
        "why", 0, timestamp_delta=3, key=b"cam", headers=[(b"caf\xe9", b"x"), (b"ce_id", b"7"), (b"n", None)]
    )
    (found,) = read(batch_of(blank_header(0)._replace(record_count=1, first_timestamp=1000), odd), 0).records
    assert (found.key, found.timestamp) == (b"cam", 1003)
    assert own_headers(found.headers) == [("caf\\xe9", b"x"), ("ce_id", b"7"), ("n", None)]


def test_a_long_reason_is_cut() -> None:
    """It goes into a header."""
    (found,) = read(batch_of(blank_header(0)._replace(record_count=1), placeholder("é" * 5000, 0)), 0).records
    assert len(undecodable(found.headers) or "") == 500


def test_a_hole_has_nothing_and_is_passed() -> None:
    """Also by a reader of committed records, whatever it was."""
    header = read_header(good(10, b"a", b"b", producer=5))._replace(attributes=0x30)
    assert read(hole(header, 17), 10) == read(hole(header, 17), 12)
    assert read(hole(header, 17), 10).position == 17
    assert read(hole(header, 17), 10).records == []


def test_no_other_record_is_taken_for_one() -> None:
    """Its headers are its own, whatever they are; readers of messages refuse one that stands for another."""
    assert undecodable([]) is None
    assert undecodable([("patchline-undecodable", b"x")]) is None
    assert undecodable([("a", b"x"), (module._MARK, b"x")]) is None
    headers = [("ce_id", b"1")]
    assert own_headers(headers) is headers
    assert decoded_headers(SimpleNamespace(headers=headers)) is headers
    with pytest.raises(RecordError, match="broken"):
        decoded_headers(SimpleNamespace(headers=[(module._MARK, b"broken")]))
