"""What a file's headers say of the work that its pixels will make, found before anything is decoded.

A decoder's work is bounded by the number of pixels only where the file is built as files are. A progressive JPEG may
pass over all pixels once for every twenty bytes, a TIFF may name the same strip a thousand times, and readers in
Python take a microsecond for each of millions of empty segments. So the headers are walked first: linear in the file,
in steps of C, and a bounded number of steps of Python. A file of more pieces is refused as it is.

What holds no pixels (EXIF, colour profiles, text, thumbnails) is left out of JPEG and PNG on the way. It says nothing
of the pixels here, and no reader has to be trusted with it.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from patchline.stream.model.errors import Reason, UnreadableError

PROGRESSIVE = "progressive"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_MOST_STEPS = 20_000
"""Segments of a JPEG before its pixels that are looked at."""
_MOST_CHUNKS = 50_000
"""Chunks of a PNG: writers of 8 KiB a chunk make 32,768 of 256 MiB."""
_MOST_IDATS = 1_000
"""More chunks of pixels are joined into one."""
_MOST_SCANS = 20
"""Scans of a JPEG: encoders make 10 of a progressive one, careful ones 13."""
_MOST_KEPT_SEGMENTS = 1_000
_MOST_TIFF_ENTRIES = 512
_MOST_TIFF_VALUE_BYTES = 2**21
_MOST_TIFF_FOLDERS = 8
_MOST_STRIPS = 65_536
_MOST_FILLINGS = 8
"""Long runs of filling bytes of a JPEG, each of which costs a pass over the file."""
_LONG_FILLING_BYTES = 4_096
_NOT_FF = re.compile(rb"[^\xff]")

_SOF, _SOF_EXTENDED, _SOF_PROGRESSIVE, _SOS, _COMMENT = 0xC0, 0xC1, 0xC2, 0xDA, 0xFE
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_WITHOUT_PIXELS = frozenset({*range(0xE1, 0xF0)} - {0xEE} | {_COMMENT})
"""APP0 (JFIF) and APP14 (Adobe) tell the colour space."""
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_TIFF_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8}
_WIDTH, _HEIGHT, _COMPRESSION = 256, 257, 259
_STRIP_OFFSETS, _STRIP_COUNTS = 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_SUBFOLDERS = (330, 34665, 34853, 40965)
_PLAIN_COMPRESSIONS = {1: "none", 5: "LZW", 32773: "PackBits"}
"""What takes a time that is linear in the bytes given and made."""


@dataclass(frozen=True, slots=True)
class Structure:
    """What is to be decoded, and what is unusual of it.

    `payload` is the file without what holds no pixels. `unusual` says in words why the time of decoding is not bounded
    by pixels and bytes; None: it is. `flavour` names what ordinary files to compare it with, beside the format.
    `cut` says in words where a file ends too early, which its reader would not miss; None: it is not known to.
    """

    payload: bytes
    unusual: str | None = None
    flavour: str = ""
    cut: str | None = None


def structure_of(payload: bytes, name: str) -> Structure:
    """Look at the headers of a file of the format `name`.

    Raises:
        UnreadableError: TOO_SLOW, of a JPEG or PNG of more pieces than any writer makes; CORRUPT, of a PNG: its
            reader leaves chunks after the last row unread.
    """
    match name:
        case "JPEG":
            return _jpeg(payload)
        case "PNG":
            return _png(payload)
        case "TIFF":
            return _tiff(payload)
        case "BMP":
            return _bmp(payload)
    return Structure(payload)


def _jpeg(payload: bytes) -> Structure:
    """Walk the segments up to the first scan."""
    kept: list[memoryview] = []
    view, at, kept_from, frame, fillings = memoryview(payload), 2, 0, (0, 0), 0

    def drop(until: int) -> None:
        nonlocal kept_from
        if kept_from < at:
            kept.append(view[kept_from:at])
        kept_from = until

    for _ in range(_MOST_STEPS):
        marker = payload.find(b"\xff", at)
        code_match = _NOT_FF.search(payload, marker + 1, marker + _LONG_FILLING_BYTES) if marker >= 0 else None
        if code_match is not None:
            code_at = code_match.start()
        elif marker >= 0 and fillings < _MOST_FILLINGS:
            code_at = len(payload) - len(payload[marker + 1 :].lstrip(b"\xff"))
            fillings += 1
        else:
            code_at = len(payload)
        if code_at + 3 > len(payload):
            return Structure(payload)  # it ends here, as its reader will say
        if code_at - 1 > at:  # what lies between segments, or fills them up
            drop(code_at - 1)
            at = code_at - 1
        code = payload[code_at]
        if code == 0 or code in _WITHOUT_LENGTH:
            drop(at + 2)
            at += 2
            continue
        (length,) = struct.unpack_from(">H", payload, code_at + 1)
        end = at + 2 + length
        if length < 2 or end > len(payload) or code in (0xD8, 0xD9):
            return Structure(payload)
        if code == _SOS:
            if len(kept) > _MOST_KEPT_SEGMENTS:
                return Structure(payload, f"has more than {_MOST_KEPT_SEGMENTS:,} pieces before its first scan")
            kept.append(view[kept_from:])
            whole = payload if len(kept) == 1 and kept_from == 0 else b"".join(kept)
            flavour = PROGRESSIVE if frame[0] == _SOF_PROGRESSIVE else ""
            return Structure(whole, _unusual_scans(payload, at, frame), flavour)
        if code in _WITHOUT_PIXELS:
            drop(end)
        elif code in _START_OF_FRAME:
            if frame != (0, 0):
                return Structure(payload, "has two frames")
            frame = (code, payload[at + 9] if length >= 8 else 0)
        at = end
    raise UnreadableError(Reason.TOO_SLOW, f"the JPEG has more than {_MOST_STEPS:,} segments before its first scan")


def _unusual_scans(payload: bytes, at: int, frame: tuple[int, int]) -> str | None:
    code, components = frame
    if code in (_SOF, _SOF_EXTENDED) and payload[at + 4] == components:
        return None  # one scan has it all, and what follows it is not decoded
    if code in (_SOF, _SOF_EXTENDED, _SOF_PROGRESSIVE):
        scans = payload.count(b"\xff\xda", at)
        return f"has {scans:,} scans" if scans > _MOST_SCANS else None
    return None if code == 0 else "is coded arithmetically, or without loss"


def _png(payload: bytes) -> Structure:
    """Walk the chunks to IEND."""
    kept: list[memoryview] = [memoryview(payload)[:8]]
    pixels: list[memoryview] = []
    view, at, whole = memoryview(payload), 8, True
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(payload):
            break
        length, kind = struct.unpack_from(">I4s", payload, at)
        end = at + 12 + length  # length, kind, data, CRC
        if end > len(payload):
            break
        if kind == b"IDAT":
            if not pixels:
                idat_at = len(kept)
            pixels.append(view[at:end])
        else:
            if kind != b"IEND":
                _check_crc(view, at, end, kind)
            if kind in _PIXEL_CHUNKS:
                kept.append(view[at:end])
            else:
                whole = False
        at = end
        if kind == b"IEND":
            if len(pixels) > _MOST_IDATS:
                pixels, whole = [_joined(pixels)], False
            if whole or not pixels:
                return Structure(payload)
            return Structure(b"".join((*kept[:idat_at], *pixels, *kept[idat_at:])))
    else:
        raise UnreadableError(Reason.TOO_SLOW, f"the PNG has more than {_MOST_CHUNKS:,} chunks")
    return Structure(payload, cut=f"the PNG ends after {len(payload):,} bytes without its IEND chunk")


def _check_crc(view: memoryview, at: int, end: int, kind: bytes) -> None:
    if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
        raise UnreadableError(Reason.CORRUPT, f"the PNG cannot be decoded: wrong checksum of its chunk {kind!r}")


def _joined(chunks: list[memoryview]) -> memoryview:
    """One IDAT chunk of many."""
    data = b"".join((b"IDAT", *(chunk[8:-4] for chunk in chunks)))
    return memoryview(struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data)))


def _bmp(payload: bytes) -> Structure:
    if len(payload) >= 34 and struct.unpack_from("<I", payload, 14)[0] >= 40:
        (compression,) = struct.unpack_from("<I", payload, 30)
        if compression not in (0, 3, 6):  # plain, and two ways to say which bits are which colour
            return Structure(payload, f"is a BMP of compression {compression}")
    return Structure(payload)


def _tiff(payload: bytes) -> Structure:
    order = "<" if payload.startswith(b"II") else ">"
    try:
        entries, unusual = _tiff_entries(payload, order)
        compression = _numbers(payload, order, entries.get(_COMPRESSION))[:1] or (1,)
        flavour = str(compression[0])
        if unusual is None and compression[0] not in _PLAIN_COMPRESSIONS:
            unusual = f"is a TIFF of compression {compression[0]}"
        return Structure(payload, unusual or _unusual_strips(payload, order, entries), flavour)
    except struct.error:
        return Structure(payload)  # it ends within its header, as its reader will say


Entry = tuple[int, int, int]
"""Type, count, and where the values are."""


def _tiff_entries(payload: bytes, order: str) -> tuple[dict[int, Entry], str | None]:
    """The entries of the first folder of tags, and what is unusual of it and of the folders that hang on it."""
    first: dict[int, Entry] = {}
    value_bytes, folders = 0, [*struct.unpack_from(f"{order}I", payload, 4)]
    for number in range(_MOST_TIFF_FOLDERS):
        if number == len(folders):
            return first, None
        try:
            for tag, entry in _folder(payload, order, folders[number]):
                value_bytes += entry[1] * _TIFF_VALUE_BYTES.get(entry[0], 0)
                if value_bytes > _MOST_TIFF_VALUE_BYTES:
                    return first, "is a TIFF with more than 2 MiB of tags"
                if number == 0:
                    first.setdefault(tag, entry)
                if tag in _SUBFOLDERS:
                    folders += _numbers(payload, order, entry)[:_MOST_TIFF_FOLDERS]
        except struct.error:
            if number == 0:
                raise
    return first, f"is a TIFF with {len(folders)} folders of tags or more"


def _folder(payload: bytes, order: str, at: int) -> Iterator[tuple[int, Entry]]:
    (count,) = struct.unpack_from(f"{order}H", payload, at)
    for number in range(min(count, _MOST_TIFF_ENTRIES)):
        entry_at = at + 2 + 12 * number
        tag, kind, values = struct.unpack_from(f"{order}HHI", payload, entry_at)
        if values * _TIFF_VALUE_BYTES.get(kind, 0) <= 4:
            yield tag, (kind, values, entry_at + 8)
        else:
            yield tag, (kind, values, *struct.unpack_from(f"{order}I", payload, entry_at + 8))
    if count > _MOST_TIFF_ENTRIES:
        yield 0, (1, _MOST_TIFF_VALUE_BYTES + 1, 0)


def _numbers(payload: bytes, order: str, entry: Entry | None) -> tuple[int, ...]:
    """The values of an entry of 8, 16 or 32 bits without a sign; none of another one."""
    if entry is None:
        return ()
    kind, count, at = entry
    letter = {1: "B", 3: "H", 4: "I", 13: "I"}.get(kind)
    return struct.unpack_from(f"{order}{count}{letter}", payload, at) if letter else ()


def _unusual_strips(payload: bytes, order: str, entries: dict[int, Entry]) -> str | None:
    def first(tag: int) -> int:
        return (_numbers(payload, order, entries.get(tag)) or (0,))[0]

    for offsets, counts in ((_STRIP_OFFSETS, _STRIP_COUNTS), (_TILE_OFFSETS, _TILE_COUNTS)):
        if offsets not in entries:
            continue
        if entries[offsets][1] > _MOST_STRIPS:
            return f"is a TIFF of {entries[offsets][1]:,} strips or tiles"
        if sum(_numbers(payload, order, entries.get(counts))) > len(payload):
            return "is a TIFF whose strips overlap"
    if _TILE_OFFSETS in entries:
        pixels = first(_WIDTH) * first(_HEIGHT)
        tiles = entries[_TILE_OFFSETS][1] * first(_TILE_WIDTH) * first(_TILE_HEIGHT)
        if tiles > 4 * pixels + 2**20:
            return "is a TIFF whose tiles are much larger than it"
    return None
