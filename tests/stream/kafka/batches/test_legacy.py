"""Batches of old brokers are looked into before the library reads them by their lengths."""

import struct
import zlib

import pytest

from patchline.stream.kafka.batches import decompression
from patchline.stream.kafka.batches.answer import checked_answer
from patchline.stream.kafka.batches.legacy import legacy_fault, legacy_header
from patchline.stream.kafka.batches.placeholders import undecodable
from tests.stream.kafka.batches.crafted import legacy, read


def wrapped(inner: bytes, *, magic: int = 1, codec: int = 1, key: bytes = b"\xff" * 4) -> bytes:
    """A message that says that it is compressed, around anything."""
    body = struct.pack(">bb", magic, codec) + (bytes(8) if magic else b"") + key
    return message(body + struct.pack(">i", len(inner)) + inner)


def message(body: bytes) -> bytes:
    return struct.pack(">qiI", 12, len(body) + 4, zlib.crc32(body)) + body


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1, 2])
def test_what_old_brokers_hold_is_read(magic: int, codec: int) -> None:
    """As it was before."""
    batches = legacy(10, b"a", b"b", b"c", magic=magic, codec=codec)
    assert checked_answer(batches, 10).data is batches
    if codec == 0 or magic:
        assert [(r.offset, r.value) for r in read(batches, 10).records] == [(10, b"a"), (11, b"b"), (12, b"c")]


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        (legacy(12, b"abc")[:-1] + b"X", "its CRC is not"),
        (wrapped(b"nonsense"), "cannot be decompressed with gzip"),
        (wrapped(decompressing := zlib.compress(b"x", wbits=31)), "a message in it has no end"),
        (wrapped(zlib.compress(b"", wbits=31)), "nothing is compressed in it"),
        (wrapped(zlib.compress(struct.pack(">qi", 0, -12) + bytes(40), wbits=31)), "a message in it has -12 bytes"),
        (wrapped(zlib.compress(wrapped(decompressing), wbits=31)), "it is compressed twice"),
        (wrapped(b"", codec=0, key=struct.pack(">i", 1000)), "a field of it has 1000 bytes"),
        (wrapped(b"", codec=0, key=struct.pack(">i", -7)), "a field of it has -7 bytes"),
        (wrapped(b"", codec=0, key=struct.pack(">i", 4) + b"key!" + b"\0\0\0\0"), "it has 4 bytes too many"),
        (message(b"\x01\x00" + bytes(8)), "a field of it is missing"),
        (wrapped(b"x", magic=0, codec=3), "lz4 in the format 0 is not its own"),
    ],
    ids=["crc", "gzip", "end", "empty", "length", "twice", "field", "negative", "too many", "missing", "lz4"],
)
def test_what_cannot_be_decoded_is_one_record(batch: bytes, why: str) -> None:
    """And reading goes on behind it."""
    assert why in (legacy_fault(batch) or "")
    found = read(checked_answer(batch + b"more", 12).data, 12)
    assert [record.offset for record in found.records] == [12]
    assert why in (undecodable(found.records[0].headers) or "")
    assert found.position == 13


def test_messages_that_cannot_be_told_apart_reach_back_to_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """The offset of a compressed message is that of the last in it."""
    batch = legacy(10, b"a", b"b", b"c", codec=2)
    monkeypatch.setattr(decompression, "cramjam", None)
    assert (legacy_header(batch, 10).base_offset, legacy_header(batch, 10).next_offset) == (10, 13)
    assert [record.offset for record in read(checked_answer(batch, 10).data, 10).records] == [10, 11, 12]
    assert [record.offset for record in read(checked_answer(batch, 11).data, 11).records] == [11, 12]
