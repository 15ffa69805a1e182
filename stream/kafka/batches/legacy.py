"""Whether batches of the formats 0 and 1, of brokers before Kafka 0.11, can be decoded.

Such a batch is one message, or one whose value is compressed and holds others. The client library reads them by lengths
that it does not check, so they are checked here. A message's offset is its own, and that of the last one in it.
"""

import zlib
from struct import Struct

from patchline.stream.kafka.batches.decompression import DecompressionError, decompressed
from patchline.stream.kafka.batches.layout import (
    BEFORE_LENGTH_BYTES,
    LEAST_LENGTH,
    BatchHeader,
    MalformedError,
    blank_header,
)

_MESSAGE_HEADER = Struct(">qiIbb")
_CRC_FROM, _MESSAGE_CODEC = 16, 0x07
_SIZE = Struct(">i")


def legacy_fault(batch: bytes) -> str | None:
    """Why a batch of format 0 or 1 cannot be decoded; None for one that can."""
    try:
        crc = _MESSAGE_HEADER.unpack_from(batch)[2]
        if zlib.crc32(batch[_CRC_FROM:]) != crc:
            raise MalformedError(f"its CRC is not {crc:08x}: it is damaged")
        codec, value = _message(batch, 0, len(batch))
        if not codec:
            return None
        if codec == 3 and batch[_CRC_FROM] == 0:
            raise MalformedError("lz4 in the format 0 is not its own")
        inner, at = decompressed(codec, value or b""), 0
        if not inner:
            raise MalformedError("nothing is compressed in it")
        while at < len(inner):
            if at + _MESSAGE_HEADER.size > len(inner):
                raise MalformedError("a message in it has no end")
            length = _MESSAGE_HEADER.unpack_from(inner, at)[1]
            end = at + BEFORE_LENGTH_BYTES + length
            if length < LEAST_LENGTH or end > len(inner):
                raise MalformedError(f"a message in it has {length} bytes")
            if _message(inner, at, end)[0]:
                raise MalformedError("it is compressed twice")
            at = end
    except (MalformedError, DecompressionError) as error:
        return f"the message cannot be decoded: {error}"
    return None


def legacy_header(batch: bytes, position: int) -> BatchHeader:
    """What a batch of format 0 or 1 comes to in the terms of format 2.

    Args:
        batch: all its bytes.
        position: where it was read from: messages before the last in it are not told apart.
    """
    last, *_ = _MESSAGE_HEADER.unpack_from(batch)
    first = min(position, last)
    return blank_header(first)._replace(last_offset_delta=last - first)


def _message(data: bytes, at: int, end: int) -> tuple[int, bytes | None]:
    """The compression of a message and its value."""
    *_, magic, attributes = _MESSAGE_HEADER.unpack_from(data, at)
    body = at + _MESSAGE_HEADER.size + (8 if magic else 0)
    _, body = _field(data, body, end)
    value, body = _field(data, body, end)
    if body != end:
        raise MalformedError(f"it has {end - body} bytes too many")
    return attributes & _MESSAGE_CODEC, value


def _field(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    if at + _SIZE.size > end:
        raise MalformedError("a field of it is missing")
    (size,) = _SIZE.unpack_from(data, at)
    at += _SIZE.size
    if size == -1:
        return None, at
    if not 0 <= size <= end - at:
        raise MalformedError(f"a field of it has {size} bytes, and {end - at} are left")
    return data[at : at + size], at + size
