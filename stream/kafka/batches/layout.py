"""How record batches lie in bytes (format 2, of Kafka 0.11 and later), as far as they are read and written here.

A batch is a header and its records. The header's CRC covers everything from `attributes` on, and so neither where the
batch begins (`base_offset`) nor how long it is (`length`).
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple, TypeAlias

from aiokafka.record.util import calc_crc32c

BEFORE_LENGTH_BYTES = 12
"""What a batch takes beyond its `length`: the base offset, and the length itself."""
MAGIC_AT = 16
"""Where every format of batches has the number of the format."""
LEAST_LENGTH = 14
"""No format has a shorter batch."""
_HEADER = Struct(">qiibIhiqqqhii")
HEADER_BYTES = _HEADER.size
_ATTRIBUTES_AT = 21
_LENGTH_STRUCT = Struct(">qi")

_CODEC_MASK, _LOG_APPEND_TIME, _CONTROL = 0x07, 0x08, 0x20

RecordHeaders: TypeAlias = Sequence[tuple[bytes, bytes | None]]
"""Names and values of a record's headers, as they lie in the batch."""


class MalformedError(Exception):
    """Bytes that are no batch, or no record, of the layout. `str()` says what was found."""


class BatchHeader(NamedTuple):
    """What a batch says of itself before its records."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def codec(self) -> int:
        """The number of the compression of the records; 0: none."""
        return self.attributes & _CODEC_MASK

    @property
    def is_control(self) -> bool:
        """Whether the batch is the end of a transaction, which has no record for a consumer."""
        return bool(self.attributes & _CONTROL)

    @property
    def next_offset(self) -> int:
        """The offset behind the batch's last, by its own word."""
        return self.base_offset + self.last_offset_delta + 1

    def uncompressed(self) -> "BatchHeader":
        """The same of records that are not compressed."""
        return self._replace(attributes=self.attributes & ~_CODEC_MASK)

    def dated(self, time_ms: int) -> "BatchHeader":
        """The same with one time, in milliseconds since 1970, in place of times that cannot be relied on."""
        attributes = self.attributes & ~_LOG_APPEND_TIME
        return self._replace(attributes=attributes, first_timestamp=time_ms, max_timestamp=time_ms)


class BatchRecord(NamedTuple):
    """One record in a batch."""

    timestamp_delta: int
    offset_delta: int
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders


def blank_header(base_offset: int) -> BatchHeader:
    """The header of a batch of which nothing is known but where it begins."""
    return BatchHeader(base_offset, 0, -1, 2, 0, 0, 0, -1, -1, -1, -1, -1, 0)


def begin_of(batches: bytes, at: int) -> tuple[int, int]:
    """The base offset and the length of the batch that begins at `at`; at least 12 bytes must be there."""
    base_offset, length = _LENGTH_STRUCT.unpack_from(batches, at)
    return base_offset, length


def read_header(batch: bytes) -> BatchHeader:
    """The header of a batch; raises MalformedError where there are fewer bytes than it takes."""
    if len(batch) < HEADER_BYTES:
        raise MalformedError(f"the batch has {len(batch)} bytes, expected at least {HEADER_BYTES}")
    return BatchHeader(*_HEADER.unpack_from(batch))


def crc_of(batch: bytes) -> int:
    """The CRC-32C of what a batch's CRC covers."""
    crc: int = calc_crc32c(memoryview(batch)[_ATTRIBUTES_AT:])
    return crc


def batch_of(header: BatchHeader, records: bytes | bytearray) -> bytes:
    """A batch of a header and its records as bytes; the length and the CRC are made to fit."""
    length = HEADER_BYTES - BEFORE_LENGTH_BYTES + len(records)
    head = _HEADER.pack(*header._replace(length=length, crc=0))
    crc = calc_crc32c(head[_ATTRIBUTES_AT:] + records)
    return _HEADER.pack(*header._replace(length=length, crc=crc)) + records


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of variable length, and where the next thing begins.

    Args:
        data: what it lies in.
        at: where it begins.
        end: what may not be passed.

    Raises:
        MalformedError: it goes on beyond `end`, or has more than 64 bits.
    """
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise MalformedError("a number has no end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def varint(value: int) -> bytes:
    """A number of at most 64 bits in variable length."""
    left = (value << 1) ^ (value >> 63)
    written = bytearray()
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    written.append(left)
    return bytes(written)


def read_record(data: bytes, at: int, end: int) -> BatchRecord:
    """The record that fills the bytes from `at` to `end`, which are behind its length.

    Raises:
        MalformedError: they are no record, or more than one.
    """
    _, at = read_varint(data, at, end)  # the attributes, of which none has a meaning
    timestamp_delta, at = read_varint(data, at, end)
    offset_delta, at = read_varint(data, at, end)
    key, at = _read_bytes(data, at, end)
    value, at = _read_bytes(data, at, end)
    count, at = read_varint(data, at, end)
    if not 0 <= count <= end - at:
        raise MalformedError(f"a record has {count} headers")
    headers: list[tuple[bytes, bytes | None]] = []
    for _ in range(count):
        name, at = _read_bytes(data, at, end)
        header, at = _read_bytes(data, at, end)
        if name is None:
            raise MalformedError("a header has no name")
        headers.append((name, header))
    if at != end:
        raise MalformedError(f"a record has {end - at} bytes too many")
    return BatchRecord(timestamp_delta, offset_delta, key, value, headers)


def record_of(record: BatchRecord) -> bytes:
    """A record as bytes, with its length before it."""
    body = bytearray(b"\0")
    body += varint(record.timestamp_delta) + varint(record.offset_delta)
    body += _bytes(record.key) + _bytes(record.value) + varint(len(record.headers))
    for name, value in record.headers:
        body += _bytes(name) + _bytes(value)
    return varint(len(body)) + body


def _read_bytes(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    size, at = read_varint(data, at, end)
    if size < 0:
        return None, at
    if size > end - at:
        raise MalformedError(f"a field has {size} bytes, and {end - at} are left")
    return bytes(data[at : at + size]), at + size


def _bytes(field: bytes | None) -> bytes:
    return varint(-1) if field is None else varint(len(field)) + field
