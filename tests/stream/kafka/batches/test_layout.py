"""Batches and records are read as they were written, by this project and by the client library."""

from contextlib import suppress

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.kafka.batches.layout import (
    HEADER_BYTES,
    BatchRecord,
    MalformedError,
    batch_of,
    blank_header,
    crc_of,
    read_header,
    read_record,
    read_varint,
    record_of,
    varint,
)
from tests.stream.kafka.batches.crafted import good, with_bytes

int64 = st.integers(-(2**63), 2**63 - 1)
some_bytes = st.one_of(st.none(), st.binary(max_size=20))
headers = st.lists(st.tuples(st.binary(max_size=8), some_bytes), max_size=4)
records = st.builds(BatchRecord, int64, st.integers(0, 2**31 - 1), some_bytes, some_bytes, headers)


@given(int64)
def test_numbers_are_read_as_written(value: int) -> None:
    """All of 64 bits; one that is cut off is no number."""
    written = varint(value)
    assert read_varint(written, 0, len(written)) == (value, len(written))
    with pytest.raises(MalformedError, match="no end"):
        read_varint(written, 0, len(written) - 1)


def test_a_number_that_never_ends_is_refused() -> None:
    """Sooner than it could take time."""
    with pytest.raises(MalformedError, match="no end"):
        read_varint(b"\xff" * 1000, 0, 1000)


@given(records)
def test_records_are_read_as_written(record: BatchRecord) -> None:
    """Whatever is in them."""
    written = record_of(record)
    length, at = read_varint(written, 0, len(written))
    assert at + length == len(written)
    assert read_record(written, at, len(written)) == record


@given(st.binary(max_size=40))
def test_nonsense_is_a_record_or_is_refused(data: bytes) -> None:
    """And nothing else comes of it."""
    with suppress(MalformedError):
        read_record(data, 0, len(data))


def test_the_library_reads_what_is_written() -> None:
    """A batch of any records, with its length and CRC; and its header is read as the library reads it."""
    wanted = [
        BatchRecord(5, 0, b"key", b"value", [(b"name", b"x"), (b"none", None)]),
        BatchRecord(-3, 2, None, None, []),
    ]
    header = blank_header(40)._replace(last_offset_delta=2, first_timestamp=1000, max_timestamp=1005, record_count=2)
    batch = batch_of(header, b"".join(map(record_of, wanted)))
    read = DefaultRecordBatch(batch)
    assert read.validate_crc()
    assert crc_of(batch) == read_header(batch).crc == read.crc
    assert [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in read] == [
        (40, 1005, b"key", b"value", [("name", b"x"), ("none", None)]),
        (42, 997, None, None, []),
    ]
    assert read_header(batch).next_offset == read.next_offset == 43


def test_a_header_tells_of_its_batch() -> None:
    """Compression, transactions; a batch that is shorter than a header has none."""
    header = read_header(good(7, b"a", b"b", codec=1, producer=5))
    assert (header.base_offset, header.codec, header.producer_id, header.record_count) == (7, 1, 5, 2)
    assert not header.is_control
    assert header.uncompressed().codec == 0
    assert read_header(with_bytes(good(7, b"a"), 21, b"\0\x28")).is_control
    dated = read_header(with_bytes(good(7, b"a"), 21, b"\0\x28")).dated(5)
    assert (dated.first_timestamp, dated.max_timestamp, dated.attributes) == (5, 5, 0x20)
    with pytest.raises(MalformedError, match="has 60 bytes, expected at least 61"):
        read_header(bytes(HEADER_BYTES - 1))
