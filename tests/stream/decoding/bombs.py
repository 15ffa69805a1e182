"""Image files that are small to send and take a decoder long, and ordinary files to compare them with.

`bombs()` gives some fifty. The name of each begins with its format and its size: `PNG 64x64 of empty IDAT chunks`.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image as Pillow

MOST_BYTES = 32 * 2**20
SMALL, MIDDLE, LARGE = (64, 64), (3000, 3000), (8000, 8000)
"""(H, W); the last is as many pixels as are decoded by default."""
Size = tuple[int, int]


def bombs(size_bytes: int = MOST_BYTES) -> Iterator[tuple[str, bytes]]:
    """Each bomb and what it is, of at most `size_bytes`."""
    for kind, some in (
        ("JPEG", _jpegs(size_bytes)),
        ("PNG", _pngs(size_bytes)),
        ("TIFF", _tiffs(size_bytes)),
        ("BMP", _bmps(size_bytes)),
        ("PPM", _pnms(size_bytes)),
    ):
        for (height, width), what, payload in some:
            yield f"{kind} {height}x{width} {what}", payload[:size_bytes]


def size_of(name: str) -> tuple[str, Size]:
    """The format of a bomb and its size in pixels, by its name."""
    kind, size, *_ = name.split()
    height, width = map(int, size.split("x"))
    return kind, (height, width)


@cache
def honest(kind: str, size_px: Size, *, grey: bool = False, **options: object) -> bytes:
    """An ordinary file: a ramp with some noise.

    Args:
        kind: the format, as Pillow names it.
        size_px: (H, W).
        grey: one channel and not three.
        options: of Pillow's writer; the quality of a JPEG is 90.
    """
    height, width = size_px
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 80, width, dtype=np.float32)[None, :, None] + 60
    pixels = np.empty((height, width, 1 if grey else 3), np.uint8)
    for top in range(0, height, 500):  # 64 million pixels at once would be several GB
        rows = pixels[top : top + 500]
        rows[:] = np.clip(ramp + 8 * rng.standard_normal(rows.shape, dtype=np.float32), 0, 255)
    file = io.BytesIO()
    given = {**{"JPEG": {"quality": 90}, "PNG": {"compress_level": 1}}.get(kind, {}), **options}
    Pillow.fromarray(pixels[:, :, 0] if grey else pixels).save(file, kind, **given)
    return file.getvalue()


def _filled(before: bytes, filling: bytes, after: bytes, size_bytes: int) -> bytes:
    return before + filling * ((size_bytes - len(before) - len(after)) // len(filling)) + after


@cache
def _flat(kind: str, size_px: Size, **options: object) -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", size_px[::-1], (90, 120, 60)).save(file, kind, **options)
    return file.getvalue()


def segment(code: int, data: bytes = b"") -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, code, len(data) + 2) + data


def empty_scan(component: int = 1) -> bytes:
    """A scan of a progressive JPEG without any bits: the decoder passes over all blocks of its component."""
    return segment(0xDA, bytes((1, component, 0x00, 1, 5, 0x02)))


def scans_added(jpeg: bytes, scans: bytes) -> bytes:
    """More scans before the end of a JPEG."""
    return jpeg[:-2] + scans + jpeg[-2:]


def before_frame(jpeg: bytes, more: bytes) -> bytes:
    """More of anything behind the first marker of a JPEG."""
    return jpeg[:2] + more + jpeg[2:]


def tiff_folder(entries: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    """A folder of tags: (tag, type, count, value or offset)."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def _jpegs(most: int) -> Iterator[tuple[Size, str, bytes]]:
    for size in (SMALL, MIDDLE, LARGE):
        progressive = _flat("JPEG", size, progressive=True)
        yield size, "of empty scans", scans_added(progressive, empty_scan() * ((most - len(progressive)) // 10))
        yield size, "with 300 empty scans", scans_added(progressive, empty_scan() * 300)
    yield LARGE, "with 8 more scans", scans_added(_flat("JPEG", LARGE, progressive=True), empty_scan() * 8)
    baseline = _flat("JPEG", SMALL)
    large = _flat("JPEG", LARGE)
    yield SMALL, "with scans behind its end", baseline + empty_scan() * ((most - len(baseline)) // 10)
    for what, filling in (
        ("of empty comments", segment(0xFE)),
        ("of filling bytes", b"\xff"),
        ("of junk", b"\x01"),
        ("of junk and markers", b"\x01\xff\x00"),
        ("of restart markers", b"\xff\xd0"),
        ("of quantisation tables", segment(0xDB, bytes(1) + bytes(range(1, 65)))),
        ("of colour profiles", segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000))),
        ("of Photoshop's blocks", segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_000)),
        ("of tiny EXIF", segment(0xE1, b"Exif\0\0")),
        ("of overlapping EXIF", segment(0xE1, b"Exif\0\0" + _overlapping_exif())),
    ):
        yield SMALL, what, before_frame(baseline, filling * ((most - len(baseline)) // len(filling)))
    for size, whole in ((SMALL, baseline), (LARGE, large)):
        arithmetic = bytearray(whole)
        arithmetic[whole.index(b"\xff\xc0") + 1] = 0xC9
        yield size, "said to be arithmetic", _filled(bytes(arithmetic[:-2]), bytes(64), b"\xff\xd9", most)
    sof = baseline.index(b"\xff\xc0")
    second = baseline[sof : sof + 5] + struct.pack(">HH", 65_500, 65_500) + baseline[sof + 9 : sof + 19]
    yield SMALL, "with a second, larger frame", baseline[:sof] + second + baseline[sof:]
    sos = large.index(b"\xff\xda")
    yield (
        LARGE,
        "that restarts at each block",
        large[:sos] + segment(0xDD, b"\0\1") + large[sos:-2] + b"\xff\xd0" * 10**6,
    )
    yield LARGE, "of which pixels are missing", large[: sos + 200] + b"\xff\xd9"
    tables = _filled(large[:-2], segment(0xC4, bytes(17)), b"\xff\xd9", most)
    yield LARGE, "with tables behind its pixels", tables


def _overlapping_exif() -> bytes:
    entries = [(0x9000 + number, 7, 60_000, 0) for number in range(5_000)]
    return b"II*\0\x08\0\0\0" + tiff_folder(entries)


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size_px: Size, pixels: bytes, *, before: bytes = b"", after: bytes = b"", interlaced: bool = False) -> bytes:
    """A PNG of RGB pixels.

    Args:
        size_px: (H, W).
        pixels: its IDAT chunks.
        before: chunks before these.
        after: chunks behind them.
        interlaced: whether it says to be.
    """
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", size_px[1], size_px[0], 8, 2, 0, 0, int(interlaced)))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + chunk(b"IEND")


def no_rows(count_bytes: int) -> bytes:
    """The beginning of a zlib stream: blocks with tables of their own that hold nothing."""
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1]
    bits = [0, 0, 1, *[0] * 10, 0, 1, 1, 1]  # not the last; own tables; 257 and 1 codes; 18 lengths
    for symbol in order:
        length = {18: 1, 0: 2, 1: 2}.get(symbol, 0)
        bits += [length & 1, length >> 1 & 1, length >> 2 & 1]
    for zeros in (138, 118):
        bits += [0, *((zeros - 11) >> bit & 1 for bit in range(7))]
    bits += [1, 1, 1, 0, 0]  # one code for the end, none for distances; the end
    two = np.packbits(bits * 2, bitorder="little").tobytes()
    assert len(bits) * 2 % 8 == 0
    return b"\x78\x01" + two * (count_bytes // len(two))


@cache
def _zeros(megabytes: int) -> bytes:
    """A zlib stream, never ending, of so many MB of zeros."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    second = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + second * (megabytes - 1)


def _rows(size_px: Size) -> bytes:
    return zlib.compress(bytes((1 + 3 * size_px[1]) * size_px[0]), 9)


def _pngs(most: int) -> Iterator[tuple[Size, str, bytes]]:
    room = most - 1_000
    rows = _rows(SMALL)
    small = chunk(b"IDAT", rows)
    for what, filling in (
        ("of empty texts", chunk(b"tEXt")),
        ("of unknown chunks", chunk(b"noNe")),
        ("of packed texts", chunk(b"zTXt", b"a\0\0" + _zeros(50))),
        ("of packed international texts", chunk(b"iTXt", b"a\0\1\0\0\0" + _zeros(50))),
        ("of animation", chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 64, 64, 0, 0, 1, 1, 0, 0))),
        ("of transparency", chunk(b"tRNS", bytes(6))),
    ):
        many = filling * (room // len(filling))
        yield SMALL, f"{what} before its pixels", png(SMALL, small, before=many)
        yield SMALL, f"{what} behind its pixels", png(SMALL, small, after=many)
    profile = chunk(b"iCCP", b"a\0\0" + _zeros(20_000)[: most - 10_000])
    yield SMALL, "with a packed profile", png(SMALL, small, before=profile)
    yield SMALL, "of empty IDAT chunks", png(SMALL, small + chunk(b"IDAT") * ((room - len(small)) // 12))
    empty = chunk(b"IDAT") * ((room - len(small)) // 12)
    yield SMALL, "that begins with empty IDAT chunks", png(SMALL, empty + small)
    single = b"".join(chunk(b"IDAT", bytes((byte,))) for byte in no_rows(100_000)) * 20
    yield SMALL, "of IDAT chunks of one byte", png(SMALL, single)
    for size in (SMALL, MIDDLE):
        yield size, "of empty blocks", png(size, chunk(b"IDAT", no_rows(room)))
        stored = b"\x78\x01" + b"\0\0\0\xff\xff" * (room // 5)
        yield size, "of empty stored blocks", png(size, chunk(b"IDAT", stored))
    yield SMALL, "of far too many rows", png(SMALL, chunk(b"IDAT", _zeros(20_000)[:room]))
    yield LARGE, "interlaced", png(LARGE, chunk(b"IDAT", _zeros(200)), interlaced=True)
    yield (10**6, 1), "of short rows", png((10**6, 1), chunk(b"IDAT", zlib.compress(bytes(4 * 10**6))))
    exif = b"II*\0\x08\0\0\0" + tiff_folder([(0x9000 + n, 7, 30 * 2**20, 0) for n in range(5_000)])
    yield SMALL, "with overlapping EXIF", png(SMALL, small, before=chunk(b"eXIf", exif + bytes(room - 10**6)))


def tiff(
    size_px: Size,
    data: bytes,
    *,
    compression: int = 1,
    strips: int = 1,
    more: tuple[tuple[int, int, int, int], ...] = (),
    tile: Size | None = None,
    after: bytes = b"",
) -> bytes:
    """A TIFF of RGB pixels all of whose strips, or tiles, are the same bytes.

    Args:
        size_px: (H, W).
        data: the bytes.
        compression: its number.
        strips: how many there are.
        more: entries: (tag, type, count, value or offset).
        tile: (H, W) of a tile; None: strips.
        after: bytes behind the folder of tags.
    """
    height, width = size_px
    bits_at = 8 + len(data)
    offsets_at = bits_at + 6
    counts_at = offsets_at + 4 * strips
    folder_at = counts_at + 4 * strips
    one = strips == 1
    offsets, counts = (324, 325) if tile else (273, 279)
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits_at), (259, 3, 1, compression), (262, 3, 1, 2)),
        *((277, 3, 1, 3), (offsets, 4, strips, 8 if one else offsets_at)),
        (counts, 4, strips, len(data) if one else counts_at),
        *(((322, 4, 1, tile[1]), (323, 4, 1, tile[0])) if tile else ((278, 4, 1, -(-height // strips)),)),
        *more,
    ]
    arrays = struct.pack("<HHH", 8, 8, 8) + struct.pack("<I", 8) * strips + struct.pack("<I", len(data)) * strips
    return b"II*\0" + struct.pack("<I", folder_at) + data + arrays + tiff_folder(sorted(entries)) + after


def _tiffs(most: int) -> Iterator[tuple[Size, str, bytes]]:
    room = most - 2**20
    for size, strips in ((SMALL, 64), (MIDDLE, 3000)):
        for what, compression in (("deflated", 8), ("packed", 32773), ("LZW", 5)):
            filling = {
                8: no_rows(room),
                32773: b"\x80" * room,
                5: b"\x80\x40\x20\x10\x08\x04\x02\x01\x00" * (room // 9),
            }
            data = filling[compression]
            yield size, f"of one {what} strip many times", tiff(size, data, compression=compression, strips=strips)
            yield size, f"of one {what} strip without rows", tiff(size, data, compression=compression)
    yield (2**17, 8), "of many strips", tiff((2**17, 8), bytes(24), strips=2**17)
    yield SMALL, "of a huge tile", tiff(SMALL, bytes(1000), compression=5, tile=(32_768, 32_768))
    yield (
        SMALL,
        "of a huge tile, deflated",
        tiff(SMALL, zlib.compress(bytes(2**20)), compression=8, tile=(32_768, 32_768)),
    )
    values = tuple((40_000 + number, 7, room, 8) for number in range(20_000))
    yield SMALL, "of overlapping tags", tiff(SMALL, bytes(room), more=values)
    yield SMALL, "with folders in a circle", tiff(SMALL, bytes(3 * 64 * 64), more=((34665, 4, 1, 8 + 3 * 64 * 64),))
    jpeg = scans_added(_flat("JPEG", MIDDLE, progressive=True), empty_scan() * 20_000)
    yield MIDDLE, "of a JPEG of empty scans", tiff(MIDDLE, jpeg, compression=7)


def bmp(size_px: Size, data: bytes, compression: int) -> bytes:
    """A BMP of 8 bits with a palette of greys."""
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, size_px[1], size_px[0], 1, 8, compression, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + len(data), 0, 0, 14 + 40 + 1024) + head + palette + data


def _bmps(most: int) -> Iterator[tuple[Size, str, bytes]]:
    room = (most - 2_000) // 4 * 4
    wide = (1, 64_000_000)
    yield wide, "of jumps over all its rows", bmp(wide, b"\0\2\xff\xff" * (room // 4), 1)
    yield LARGE, "of single pixels", bmp(LARGE, b"\1\x80" * (room // 2), 1)
    yield SMALL, "of ends of rows", bmp(SMALL, b"\0\0" * (room // 2), 1)
    yield LARGE, "of pixels that cover nothing", bmp(LARGE, b"\0\2\0\0" * (room // 4), 2)


def _pnms(most: int) -> Iterator[tuple[Size, str, bytes]]:
    yield SMALL, "of a comment", b"P6\n#" + b"x" * (most - 100) + b"\n64 64\n255\n" + bytes(64)
    yield SMALL, "of blanks", b"P6\n" + b" " * (most - 100) + b"64 64\n255\n" + bytes(64)
    rows = (most - 100) // 5000
    yield (rows, 5000), "of an odd largest value", b"P5\n5000 %d\n100\n" % rows + bytes(rows * 5000)
    yield SMALL, "in digits", b"P3\n64 64\n65535\n" + b"65535 " * ((most - 100) // 6)
