"""Records of a batch are decompressed here, never to more than a bound: a few kilobytes can stand for gigabytes.

gzip is Python's own. lz4, snappy and zstd are read and written by one library, `cramjam`, which comes with
`aiokafka[snappy,lz4,zstd]`; where it is missing, batches so compressed cannot be read, and results not so written.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from patchline.stream.model.checks import MIB

try:
    import cramjam
except ImportError:  # an environment that was put together by hand
    cramjam = None  # type: ignore[assignment]

Compression: TypeAlias = Literal["none", "gzip", "snappy", "lz4", "zstd"]

NAMES: Mapping[int, Compression] = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
"""By the number that batches have."""
_OF_LIBRARY = ("snappy", "lz4", "zstd")
_LEAST_BOUND_BYTES = 128 * MIB
_XERIAL = b"\x82SNAPPY\x00"
"""How snappy begins that is cut into blocks, as Java's producers write it: this, two numbers, the blocks."""
_XERIAL_HEADER_BYTES = 16


class DecompressionError(Exception):
    """Bytes that cannot be decompressed. `str()` says why."""


def missing_package(compression: Compression) -> str | None:
    """What has to be installed to read and write a compression; None where it is there."""
    return "aiokafka[snappy,lz4,zstd]" if compression in _OF_LIBRARY and cramjam is None else None


def decompressed(codec: int, compressed: bytes) -> bytes:
    """What was compressed, of at most 128 MiB, or four times what it is compressed where that is more.

    Args:
        codec: the number of the compression, of `NAMES`.
        compressed: all of it.

    Raises:
        DecompressionError: the compression is unknown or not installed, the bytes are none of it, or it is more.
    """
    name = NAMES.get(codec)
    if name is None:
        raise DecompressionError(f"it is compressed in a way that is not known (number {codec})")
    if (package := missing_package(name)) is not None:
        raise DecompressionError(f"it is compressed with {name}, for which {package} is not installed")
    most = max(_LEAST_BOUND_BYTES, 4 * len(compressed))
    try:
        return _BY_NAME[name](compressed, most)
    except DecompressionError:
        raise
    except Exception as error:  # whatever a library says of bytes that are not its own
        raise DecompressionError(f"it cannot be decompressed with {name} ({error or type(error).__name__})") from error


def _gunzip(compressed: bytes, most: int) -> bytes:
    out, left = bytearray(), compressed
    while left:
        member = zlib.decompressobj(wbits=31)
        out += member.decompress(left, most + 1 - len(out))
        if len(out) > most:
            raise _too_much("gzip", most)
        if not member.eof:
            raise DecompressionError("it is compressed with gzip, and its end is missing")
        left = member.unused_data.lstrip(b"\0")  # as the tool pads
    return bytes(out)


def _unsnap(compressed: bytes, most: int) -> bytes:
    if not compressed.startswith(_XERIAL):
        return _unsnap_block(compressed, most)
    out, at = bytearray(), _XERIAL_HEADER_BYTES
    while at < len(compressed):
        (size,) = struct.unpack_from(">i", compressed, at)
        at += 4
        if not 0 <= size <= len(compressed) - at:
            raise DecompressionError(f"it is compressed with snappy, and a block of it has {size} bytes")
        out += _unsnap_block(compressed[at : at + size], most, len(out))
        at += size
    return bytes(out)


def _unsnap_block(compressed: bytes, most: int, before: int = 0) -> bytes:
    if before + cramjam.snappy.decompress_raw_len(compressed) > most:
        raise _too_much("snappy", most)
    return bytes(cramjam.snappy.decompress_raw(compressed))


def _into(name: str) -> Callable[[bytes, int], bytes]:
    def decompress(compressed: bytes, most: int) -> bytes:
        room = np.empty(most, np.uint8)  # takes no memory before it is written to
        library: Any = getattr(cramjam, name)
        try:
            size = library.decompress_into(compressed, room)
        except cramjam.DecompressionError as error:
            raise _too_much(name, most) if "whole buffer" in str(error) else error from error
        return room[:size].tobytes()

    return decompress


_BY_NAME: Mapping[Compression, Callable[[bytes, int], bytes]] = {
    "none": lambda compressed, _: compressed,
    "gzip": _gunzip,
    "snappy": _unsnap,
    "lz4": _into("lz4"),
    "zstd": _into("zstd"),
}


def _too_much(name: str, most: int) -> DecompressionError:
    return DecompressionError(f"it is compressed with {name}, and has more than {most:,} bytes without")
