"""Images, headers and JSON made from good ones, and broken in many ways. The same seed, the same bytes."""

import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image as Pillow
from PIL import PngImagePlugin

from tests.stream.scripted import picture

Headers: TypeAlias = list[tuple[str, bytes]]
MAX_PIXELS = 4_000_000
"""The limit that workers are given: bombs up to it are decoded."""
_SIDE_PX = 160


def photographs(data: Path | None) -> list[Pillow.Image]:
    """A few real photographs, made small; drawn ones where there are no data."""
    found = [] if data is None else sorted(data.glob("*/test/*/*"))
    chosen = found[:: max(1, len(found) // 8)][:8]
    if not chosen:
        return [Pillow.fromarray(picture(level, (120, 160))) for level in (50, 66, 90)]
    images = [Pillow.open(path).convert("RGB") for path in chosen]
    for image in images:
        image.thumbnail((_SIDE_PX, _SIDE_PX))
    return images


def encodings(image: Pillow.Image) -> list[bytes]:
    """An image in the formats and flavours that cameras and tools write, some of which are not read here."""
    grey = image.convert("L")
    deep = Pillow.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    turned = Pillow.Exif()
    turned[0x0112] = 6
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    ways: list[tuple[Pillow.Image, str, dict[str, Any]]] = [
        (image, "JPEG", {"quality": 90}),
        (image, "JPEG", {"quality": 80, "progressive": True}),
        (image, "JPEG", {"exif": turned}),
        (grey, "JPEG", {}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "PNG", {}),
        (image, "PNG", {"pnginfo": text}),
        (deep, "PNG", {}),
        (image.convert("P"), "PNG", {}),
        (image.convert("RGBA"), "PNG", {}),
        (grey.convert("1"), "PNG", {}),
        (image, "BMP", {}),
        (image, "TIFF", {}),
        (image, "TIFF", {"compression": "tiff_lzw"}),
        (image, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (image, "TIFF", {"save_all": True, "append_images": [image]}),
        (grey.convert("1"), "TIFF", {"compression": "group4"}),
        (grey.convert("F"), "TIFF", {}),
        (image, "PPM", {}),
        (grey, "PPM", {}),
        (image, "GIF", {}),
        (image, "WEBP", {}),
    ]
    return [_saved(*way) for way in ways]


def _saved(image: Pillow.Image, kind: str, options: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bombs() -> list[bytes]:
    """Little files that say, or are, a lot of pixels; and what is no image at all."""
    side = int(MAX_PIXELS**0.5)
    return [
        _png(65_535, 65_535, zlib.compress(b"")),
        _png(2**31 - 1, 2**31 - 1, b""),
        _png(0, 10, b""),
        _png(side, side, zlib.compress(bytes((side * 3 + 1) * side), 9)),
        _png(side, side, zlib.compress(bytes(100_000_000), 9)),
        b"P6\n" + b"9" * 4_000 + b" 10 255\n",
        b"P6\n99999 99999 255\n" + bytes(100),
        b"P5 1 1 65535\n\x01\x02",
        b"\xff\xd8\xff\xe0" + struct.pack(">H", 65_535) + bytes(50),
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 20_000,
        b"II*\x00\xff\xff\xff\xff",
        b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
        b"MM\x00*\x00\x00\x00\x08" + b"\xff\xff" + bytes(12 * 200),
        b"BM" + b"\xff" * 60,
        b"",
        b"\x00",
        b"text, and no image",
        b'{"frame": 1}',
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ]


def _png(height: int, width: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def mutated(some: Sequence[bytes], draw: random.Random) -> bytes:
    """One of some byte strings, whole or broken."""
    value = draw.choice(some)
    for _ in range(draw.choice((0, 1, 1, 1, 1, 2, 3))):
        value = draw.choice(_BREAKS)(value, draw.choice(some), draw)
    return value


def _flip(value: bytes, _other: bytes, draw: random.Random) -> bytes:
    broken = bytearray(value)
    within = draw.choice((len(broken), min(64, len(broken)), min(700, len(broken))))
    for _ in range(draw.choice((1, 1, 2, 8, 60)) if broken else 0):
        broken[draw.randrange(within)] ^= 1 << draw.randrange(8)
    return bytes(broken)


def _lie(value: bytes, _: bytes, draw: random.Random) -> bytes:
    """A few bytes of the header become a number that is too large, too small or negative."""
    lie = draw.choice((b"\xff\xff", b"\x00\x00", b"\x7f\xff\xff\xff", b"\xff" * 4, b"\x00" * 4, b"\x80\x00\x00\x00"))
    at = draw.randrange(min(len(value), 200) + 1)
    return value[:at] + lie + value[at + len(lie) :]


def _cut(value: bytes, _: bytes, draw: random.Random) -> bytes:
    return value[: draw.randrange(len(value) + 1)]


def _drop(value: bytes, _: bytes, draw: random.Random) -> bytes:
    at, more = draw.randrange(len(value) + 1), draw.choice((1, 2, 100, 3000))
    return value[:at] + value[at + more :]


def _insert(value: bytes, _: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(value) + 1)
    return value[:at] + draw.randbytes(draw.choice((1, 2, 50, 2000))) + value[at:]


def _splice(value: bytes, other: bytes, draw: random.Random) -> bytes:
    return value[: draw.randrange(len(value) + 1)] + other[draw.randrange(len(other) + 1) :]


def _blank(value: bytes, _: bytes, draw: random.Random) -> bytes:
    at, more = draw.randrange(len(value) + 1), draw.choice((4, 100, 5000))
    return value[:at] + draw.choice((b"\x00", b"\xff")) * len(value[at : at + more]) + value[at + more :]


_BREAKS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    *(_flip, _flip, _lie, _cut, _drop, _insert, _splice, _blank),
)

_STRANGE_TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "﷽" * 200,
        "\U0001f600",
        "x" * 1025,
        "x" * 70_000,
        "../../etc/passwd",
        "\r\n",
    ),
    *("NaN", "-1", "9" * 400, "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *("2026-01-01T00:00:00", "file:///etc/passwd", "http://[", "s3://::file:///etc", "memory://x", "\ufeff", "plate"),
    *("{", "*", "cam-0", "patchline:alarm:*", "con_firm", "%s%n", "' OR 1=1", "a" * 64, "g" * 64),
)
STRANGE: tuple[Any, ...] = (
    *_STRANGE_TEXTS,
    *(None, True, 0, -1, 2**31, 2**63, 2**64, 10**400, 1e308, -0.0, 1.5, [], {}, [[]], {"a": {"a": []}}, ["x"] * 500),
)
"""Values that a field may turn out to have."""


def mutated_json(value: dict[str, Any], draw: random.Random) -> bytes:
    """A JSON object with strange, missing or unknown fields; or no longer JSON."""
    changed = dict(value)
    for _ in range(draw.choice((0, 1, 1, 1, 2))):
        name = draw.choice([*changed, "unknown"])
        way = draw.random()
        if way < 0.2:
            changed.pop(name, None)
        elif way < 0.3 and isinstance(changed.get(name), dict):
            inner = draw.choice([*changed[name], "unknown"])
            changed[name] = changed[name] | {inner: draw.choice(STRANGE)}
        else:
            changed[name] = draw.choice(STRANGE)
    text = json.dumps(changed).encode()
    way = draw.random()
    if way < 0.75:
        return text
    if way < 0.8:
        return draw.choice(
            (b"", b"null", b"[" * 100_000, b'{"a":' * 50_000, b"\xef\xbb\xbf" + text, text * 2, b"\xff\xfe")
        )
    return draw.choice((_flip, _cut, _drop, _insert, _blank))(text, text, draw)


def mutated_headers(headers: Headers, draw: random.Random) -> Headers:
    """Headers with strange, missing, doubled or unknown ones."""
    changed = list(headers)
    for _ in range(draw.choice((0, 1, 1, 2, 4))):
        at = draw.randrange(len(changed) + 1)
        name = changed[at][0] if at < len(changed) else draw.choice(("ce_dataref", "ce_x", "", "é", "x" * 300))
        way = draw.random()
        if way < 0.25 and at < len(changed):
            del changed[at]
        elif way < 0.35:
            changed.insert(at, (name, b"again"))
        elif way < 0.5:
            changed[at : at + 1] = [(name, draw.randbytes(draw.choice((1, 20, 5000))))]
        else:
            text = draw.choice(_STRANGE_TEXTS)
            changed[at : at + 1] = [(name, text.encode("utf-8", "surrogatepass"))]
    return changed
