"""What the headers say before anything is decoded."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from patchline.stream.decoding.image_file import read_image, read_view
from patchline.stream.decoding.structure import structure_of
from patchline.stream.model.errors import Reason, UnreadableError
from tests.stream.decoding.bombs import (
    before_frame,
    bmp,
    chunk,
    empty_scan,
    honest,
    png,
    scans_added,
    segment,
    tiff,
)

SIZE = (61, 83)
LIMITS = {"max_bytes": 32 * 2**20, "max_pixels": 64_000_000}


def unusual(kind: str, payload: bytes) -> str | None:
    return structure_of(payload, kind).unusual


def pixels(payload: bytes) -> np.ndarray:
    return read_image(payload, **LIMITS)


def test_ordinary_files_are_usual_and_stay_as_they_are() -> None:
    """As cameras and libraries write them; what has nothing to leave out is not copied."""
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_blocks": 1}),
        ("JPEG", {"subsampling": 0, "grey": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "packbits"}),
    ):
        payload = honest(kind, SIZE, **options)
        found = structure_of(payload, kind)
        assert found.unusual is None, (kind, options)
        assert found.payload is payload


def test_what_holds_no_pixels_is_left_out_of_a_jpeg() -> None:
    """Metadata, filling and junk go, before the first scan; the pixels are the same, whatever the metadata says."""
    plain = honest("JPEG", SIZE)
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")
    for more in (
        segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 20,
        segment(0xFE) * 5_000,
        b"\xff" * 10_000,
        segment(0xFE) + b"\1\2\3" * 10_000,
        segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(100))
        + b"\xff\xff"
        + segment(0xED, b"Photoshop 3.0\0")
        + b"\xff\xd0",
    ):
        found = structure_of(before_frame(plain, more), "JPEG")
        assert found.unusual is None
        assert found.payload == plain
        assert np.array_equal(pixels(before_frame(plain, more)), pixels(plain))
    kept = structure_of(before_frame(plain, adobe), "JPEG")
    assert kept.payload == before_frame(plain, adobe)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 60, "subsampling": 2}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_has_the_pixels_that_its_library_reads(mode: str, options: dict[str, object]) -> None:
    """In every colour space, with EXIF, a colour profile and a comment on it."""
    file = io.BytesIO()
    picture = Pillow.open(io.BytesIO(honest("PNG", SIZE))).convert(mode)
    exif = Pillow.Exif()
    exif[0x0110] = "camera"
    picture.save(file, "JPEG", exif=exif, icc_profile=bytes(3_000), comment=b"part 7", **options)
    expected = np.asarray(Pillow.open(file).convert("RGB"))
    assert np.array_equal(pixels(file.getvalue()), expected)


def test_a_jpeg_of_many_scans_is_unusual() -> None:
    """Ten are usual; what one scan holds is usual whatever follows it; arithmetic coding and two frames are not."""
    progressive = honest("JPEG", SIZE, progressive=True)
    scans = progressive.count(b"\xff\xda")
    assert scans >= 10
    assert unusual("JPEG", scans_added(progressive, empty_scan() * (20 - scans))) is None
    assert unusual("JPEG", scans_added(progressive, empty_scan() * (21 - scans))) == "has 21 scans"
    plain = honest("JPEG", SIZE)
    assert unusual("JPEG", plain + empty_scan() * 100) is None
    frame = plain.index(b"\xff\xc0")
    assert "arithmetically" in (unusual("JPEG", plain.replace(b"\xff\xc0", b"\xff\xc9", 1)) or "")
    assert "two frames" in (unusual("JPEG", plain[:frame] + plain[frame : frame + 19] + plain[frame:]) or "")
    assert "pieces" in (unusual("JPEG", before_frame(plain, (segment(0xFE) + segment(0xE0)) * 1_001)) or "")


def test_files_of_more_pieces_than_any_writer_makes_are_refused() -> None:
    """As too slow to decode, in a few hundredths of a second."""
    jpeg, whole = honest("JPEG", SIZE), png((2, 2), chunk(b"noNe") * 50_000)
    fillings = b"".join(b"\xff" * 5_000 + segment(0xFE)[1:] for _ in range(9))
    assert structure_of(before_frame(jpeg, fillings), "JPEG").payload == before_frame(jpeg, fillings)
    for kind, payload in (("JPEG", before_frame(jpeg, segment(0xFE) * 20_001)), ("PNG", whole)):
        with pytest.raises(UnreadableError, match="more than") as found:
            structure_of(payload, kind)
        assert found.value.reason is Reason.TOO_SLOW


def test_what_holds_no_pixels_is_left_out_of_a_png() -> None:
    """Text, profiles and animation go, and thousands of small pieces of the pixels become one."""
    plain = png((2, 2), chunk(b"IDAT", zlib.compress(bytes(14))))
    for more in (
        chunk(b"tEXt", b"a\0b") * 9_000,
        chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))),
        chunk(b"acTL"),
    ):
        for payload in (
            png((2, 2), plain[33:-12], before=more),
            png((2, 2), plain[33:-12], after=more),
        ):
            assert structure_of(payload, "PNG").payload == plain
            assert np.array_equal(pixels(payload), pixels(plain))
    stream = zlib.compress(bytes(14))
    pieces = b"".join(chunk(b"IDAT", bytes((byte,))) for byte in stream) + chunk(b"IDAT") * 2_000
    assert structure_of(png((2, 2), pieces), "PNG").payload == plain


def test_a_png_that_is_damaged_where_no_pixels_are_is_still_damaged() -> None:
    """A wrong checksum is found in whatever is left out, and a missing end is, behind whatever."""
    text, pixels = bytearray(chunk(b"tEXt", b"a\0b")), chunk(b"IDAT", zlib.compress(bytes(14)))
    text[9] ^= 1
    payload = png((2, 2), pixels, before=bytes(text))
    for damaged in (payload, payload[:-1]):
        with pytest.raises(UnreadableError) as found:
            structure_of(damaged, "PNG")
        assert found.value.reason is Reason.CORRUPT
    cut = png((2, 2), pixels)[:-1]
    assert structure_of(cut, "PNG").cut is not None
    for max_pixels, reason in ((4, Reason.TRUNCATED), (3, Reason.TOO_MANY_PIXELS)):
        with pytest.raises(UnreadableError) as found:
            read_view(cut, max_bytes=1000, max_pixels=max_pixels)
        assert found.value.reason is reason


def test_a_tiff_is_unusual_where_its_strips_are_not_what_they_seem() -> None:
    """Strips that overlap, huge tiles, compressions that may take any time, and folders of tags without end."""
    rows = bytes(3 * 64 * 64)
    assert unusual("TIFF", tiff((64, 64), rows)) is None
    assert "overlap" in (unusual("TIFF", tiff((64, 64), rows, compression=5, strips=64)) or "")
    assert "strips" in (unusual("TIFF", tiff((2**17, 8), b"", strips=2**17)) or "")
    assert "tiles" in (unusual("TIFF", tiff((64, 64), rows, tile=(32_768, 32_768))) or "")
    assert unusual("TIFF", tiff((64, 64), rows, tile=(64, 64))) is None
    assert unusual("TIFF", tiff((64, 64), rows, compression=8)) == "is a TIFF of compression 8"
    assert structure_of(tiff((64, 64), rows, compression=8), "TIFF").flavour == "8"
    many = tuple((40_000 + number, 7, 10, 8) for number in range(600))
    assert "tags" in (unusual("TIFF", tiff((64, 64), rows, more=many)) or "")
    assert "tags" in (unusual("TIFF", tiff((64, 64), rows, more=((700, 7, 2**22, 8),))) or "")
    circle = tiff((64, 64), rows, more=((34665, 4, 1, 0),))
    at = struct.unpack_from("<I", circle, 4)[0]
    assert "folders" in (
        unusual("TIFF", circle.replace(struct.pack("<HHII", 34665, 4, 1, 0), struct.pack("<HHII", 34665, 4, 1, at)))
        or ""
    )
    for cut in range(4, 200):
        assert unusual("TIFF", tiff((8, 8), rows[:192])[:cut]) is None


def test_a_bmp_in_runs_is_unusual() -> None:
    """Runs may jump over any number of pixels; a plain one and one of 16 bits are usual."""
    assert unusual("BMP", bmp((8, 8), bytes(64), 0)) is None
    assert unusual("BMP", bmp((8, 8), bytes(64), 3)) is None
    assert unusual("BMP", bmp((8, 8), bytes(64), 1)) == "is a BMP of compression 1"
    assert unusual("BMP", b"BM") is None
