"""A batch passes, or what cannot be decoded of it is one record each that says why."""

import gzip
import struct

import pytest

from patchline.stream.kafka.batches import checked_batch as module
from patchline.stream.kafka.batches import decompression
from patchline.stream.kafka.batches.checked_batch import Checked, Unbounded, checked_batch
from patchline.stream.kafka.batches.placeholders import MOST_PLACEHOLDERS, undecodable
from tests.stream.kafka.batches.crafted import (
    ATTRIBUTES_AT,
    COUNT_AT,
    HEADER_BYTES,
    LAST_DELTA_AT,
    control,
    good,
    odd_name,
    read,
    with_bytes,
)

THREE = good(10, b"one", b"two", b"three")


def seen(batch: bytes, *, position: int = 10, following: int | None = None) -> dict[int, bytes | str | None]:
    """What a consumer has of a batch: by offset the value, or why there is none."""
    checked = checked_batch(batch, position, following)
    assert isinstance(checked, Checked)
    found = read(checked.data, position)
    assert found.position == checked.next_offset
    return {record.offset: record.value or undecodable(record.headers) for record in found.records}


def test_a_sound_batch_passes_as_it_is() -> None:
    """The very bytes."""
    checked = checked_batch(THREE, 10, 13)
    assert isinstance(checked, Checked)
    assert checked == Checked(THREE, 13)
    assert checked.data is THREE


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_compressed_batch_is_decompressed(codec: int) -> None:
    """Within the bound; the library need not do it again."""
    assert seen(good(10, b"one", b"two", codec=codec)) == {10: b"one", 11: b"two"}


def test_a_compression_that_is_not_installed_costs_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every offset of it, once; what lies before the position is done."""
    batch = good(10, b"one", b"two", codec=4)
    monkeypatch.setattr(decompression, "cramjam", None)
    package = "aiokafka[snappy,lz4,zstd]"
    why = f"the record batch cannot be read: it is compressed with zstd, for which {package} is not installed"
    assert seen(batch) == {10: why, 11: why}
    assert seen(batch, position=11) == {11: why}


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        (with_bytes(THREE, len(THREE) - 2, b"X", seal=False), "has the CRC"),
        (with_bytes(THREE, 16, b"\x07"), "has the format 7, expected 0, 1 or 2"),
        (with_bytes(THREE, LAST_DELTA_AT, struct.pack(">i", -5)), "has -4 offsets, expected 1 or more"),
        (THREE[: HEADER_BYTES - 5], "has 56 bytes, expected at least 61"),
    ],
    ids=["crc", "format", "offsets", "short"],
)
def test_a_batch_that_cannot_be_trusted_ends_where_the_next_begins(batch: bytes, why: str) -> None:
    """That is for others to find; all of its offsets are then accounted for, at a time that is not its own."""
    found = checked_batch(batch, 10, None)
    assert isinstance(found, Unbounded)
    assert why in found.why
    records = read(found.until(15, 12).data, 12).records
    assert [record.offset for record in records] == [12, 13, 14]
    assert all(why in (undecodable(record.headers) or "") for record in records)
    assert records[0].timestamp > 1_700_000_100_000


def test_an_end_that_makes_no_sense_is_not_believed() -> None:
    """Whatever is said, reading goes on behind the position."""
    found = checked_batch(with_bytes(THREE, len(THREE) - 2, b"X", seal=False), 10, None)
    assert isinstance(found, Unbounded)
    assert (found.until(3, 12).next_offset, found.until(11, 10).next_offset) == (13, 11)


def test_the_offsets_of_a_large_batch_come_in_parts() -> None:
    """Each with the next answer, until all are accounted for."""
    found = checked_batch(with_bytes(THREE, len(THREE) - 2, b"X", seal=False), 10, None)
    assert isinstance(found, Unbounded)
    first = found.until(2**31, 10)
    assert (first.next_offset, first.ends_answer) == (10 + MOST_PLACEHOLDERS, True)
    last = found.until(10 + MOST_PLACEHOLDERS + 5, first.next_offset)
    assert (last.next_offset, last.ends_answer) == (10 + MOST_PLACEHOLDERS + 5, False)


def test_one_bad_record_costs_itself() -> None:
    """The others keep their bytes, in whatever way they were compressed."""
    odd = odd_name(THREE)
    assert seen(odd) == {10: "the name b'caf\\xe9s' of a header is not UTF-8", 11: b"two", 12: b"three"}
    payload = gzip.compress(odd[HEADER_BYTES:])
    packed = with_bytes(odd[:HEADER_BYTES] + payload, 8, struct.pack(">i", HEADER_BYTES - 12 + len(payload)))
    assert seen(with_bytes(packed, ATTRIBUTES_AT, struct.pack(">h", 1))) == seen(odd)


def test_an_offset_beyond_the_batch_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would go on there, and pass over all that is between; nor may a batch reach into the next."""
    delta_at = HEADER_BYTES + 3
    assert THREE[delta_at] == 0
    why = "the record batch cannot be decoded: offset 73 follows 9 in a batch that ends before 13"
    jumping = with_bytes(THREE, delta_at, b"\x7e")
    assert seen(jumping) == {10: why, 11: b"two", 12: b"three"}
    why = "the record batch cannot be decoded: it ends before the offset 16, and the next batch begins at 13"
    lying = with_bytes(THREE, LAST_DELTA_AT, struct.pack(">i", 5))
    assert seen(lying, following=13) == {10: b"one", 11: b"two", 12: b"three"}
    monkeypatch.setattr(module, "MOST_SALVAGED", 2)
    assert seen(lying, following=13) == {10: why, 11: why, 12: why}


def test_where_the_next_batch_begins_is_believed_less_than_a_sound_batch() -> None:
    """No CRC covers that."""
    assert seen(THREE, following=11) == seen(THREE) == {10: b"one", 11: b"two", 12: b"three"}


def test_more_records_than_can_be_looked_at_cost_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of them is bad; else there is nothing to look at."""
    monkeypatch.setattr(module, "MOST_SALVAGED", 2)
    assert len(set(seen(odd_name(THREE)).values())) == 1
    assert seen(THREE) == {10: b"one", 11: b"two", 12: b"three"}


def test_ends_of_transactions_are_no_records() -> None:
    """Neither sound ones nor broken ones; and behind one that is broken, the next answer begins."""
    end = control(10, 5, commit=False)
    assert checked_batch(end, 10, None) == Checked(end, 11)
    for broken in (
        with_bytes(end, HEADER_BYTES, b"\x7f"),
        with_bytes(end, ATTRIBUTES_AT, b"\x00\x34"),
        with_bytes(end, end.index(struct.pack(">hh", 0, 0), HEADER_BYTES) - 1, b"\x01"),
    ):
        found = checked_batch(broken, 10, None)
        assert isinstance(found, Checked)
        assert (found.next_offset, found.ends_answer) == (11, True)
        assert read(found.data, 10).records == []
    damaged = checked_batch(with_bytes(end, len(end) - 3, b"\x7f", seal=False), 10, None)
    assert isinstance(damaged, Unbounded)
    assert read(damaged.until(11, 10).data, 10).records == []
    emptied = with_bytes(with_bytes(end[:HEADER_BYTES], COUNT_AT, bytes(4)), 8, struct.pack(">i", HEADER_BYTES - 12))
    found = checked_batch(emptied, 10, None)
    assert isinstance(found, Checked)
    assert (read(found.data, 10).position, found.ends_answer) == (11, False)
