import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from patchline.engine.features.preprocess import prepare
from patchline.stream.decoding.image_file import bits_of, read_image, read_view
from patchline.stream.model.errors import Reason, UnreadableError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on damaged TIFF headers

RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (61, 83, 3), dtype=np.uint8)
LIMITS = {"max_bytes": 32 * 2**20, "max_pixels": 64_000_000}


def encode(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


WHOLE = {
    "baseline JPEG": encode(PIXELS, "JPEG", quality=90),
    "progressive JPEG": encode(PIXELS, "JPEG", quality=90, progressive=True),
    "JPEG with restart markers": encode(PIXELS, "JPEG", restart_marker_blocks=4),
    "grey JPEG": encode(PIXELS[:, :, 0], "JPEG"),
    "JPEG with a thumbnail": encode(
        PIXELS, "JPEG", exif=b"Exif\x00\x00" + encode(PIXELS[:16, :16], "JPEG"), quality=80
    ),
    "PNG": encode(PIXELS, "PNG"),
    "BMP": encode(PIXELS, "BMP"),
    "TIFF": encode(PIXELS, "TIFF"),
    "LZW TIFF": encode(PIXELS, "TIFF", compression="tiff_lzw"),
    "PPM": encode(PIXELS, "PPM"),
}


def png_header(height: int, width: int) -> bytes:
    """A PNG of a header, one nearly empty IDAT and IEND, whatever its size claims."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def reason_of(payload: bytes, **limits: int) -> Reason:
    with pytest.raises(UnreadableError) as caught:
        read_image(payload, **{**LIMITS, **limits})
    assert caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_decode(name: str) -> None:
    """Every supported format gives RGB uint8 pixels of its size."""
    image = read_image(WHOLE[name], **LIMITS)
    assert image.shape == (61, 83, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    if name in ("PNG", "BMP", "TIFF", "LZW TIFF", "PPM"):
        assert np.array_equal(image, PIXELS)


@pytest.mark.parametrize("name", WHOLE)
def test_truncation_is_found_at_every_cut(name: str) -> None:
    """A file cut anywhere after its first bytes is refused, be it one byte short."""
    whole = WHOLE[name]
    accepted = []
    for cut in range(1, len(whole)):
        try:
            read_image(whole[:cut], **LIMITS)
        except UnreadableError as error:
            assert error.reason in (Reason.TRUNCATED, Reason.CORRUPT, Reason.NOT_AN_IMAGE)  # noqa: PT017 - counted below
        else:
            accepted.append(len(whole) - cut)
    assert accepted == []


@pytest.mark.parametrize("pattern", ["magnetic_tile/**/*.jpg", "mvtec_bottle/**/good/*.png"])
def test_real_photographs_cut_short_are_found(data_dir: Path, pattern: str) -> None:
    """Photographs as cameras store them are refused at sampled cuts, and at each of the last bytes."""
    files = sorted(data_dir.glob(pattern))
    for path in (files[0], files[len(files) // 2], files[-1]):
        whole = path.read_bytes()
        assert read_image(whole, **LIMITS).ndim == 3
        cuts = {int(cut) for cut in np.random.default_rng(1).integers(1, len(whole), 30)}
        for cut in sorted(cuts | set(range(len(whole) - 20, len(whole)))):
            reason_of(whole[:cut])


def test_truncated_inside_the_pixels_says_truncated() -> None:
    """A JPEG or PNG that ends among its pixels is called truncated, not just corrupt."""
    for name in ("baseline JPEG", "progressive JPEG", "PNG", "BMP"):
        whole = WHOLE[name]
        assert reason_of(whole[: len(whole) // 2]) is Reason.TRUNCATED, name


def test_pixels_are_counted_before_decoding() -> None:
    """A header of 60,000 x 60,000 pixels is refused by its size."""
    assert reason_of(png_header(60_000, 60_000)) is Reason.TOO_MANY_PIXELS
    assert reason_of(WHOLE["PNG"], max_pixels=61 * 83 - 1) is Reason.TOO_MANY_PIXELS
    assert read_image(WHOLE["PNG"], **{**LIMITS, "max_pixels": 61 * 83}).shape == (61, 83, 3)


def test_bytes_that_are_no_image() -> None:
    """Nothing, text, and too much are told apart."""
    assert reason_of(b"") is Reason.EMPTY
    assert reason_of(b"good part, no defects\n") is Reason.NOT_AN_IMAGE
    assert reason_of(b"GIF89a" + bytes(20)) is Reason.NOT_AN_IMAGE
    assert reason_of(WHOLE["PNG"], max_bytes=len(WHOLE["PNG"]) - 1) is Reason.TOO_MANY_BYTES


@pytest.mark.parametrize("name", WHOLE)
def test_a_view_shows_what_is_read(name: str) -> None:
    """Grey or not, its pixels are those of `read_image`, and so are those that a recipe sees of it."""
    image = read_image(WHOLE[name], **LIMITS)
    view = read_view(WHOLE[name], max_bytes=LIMITS["max_bytes"], max_pixels=LIMITS["max_pixels"])
    assert np.array_equal(view, image)
    for size_px in ((32, 32), (61, 40), (61, 83), (100, 90)):
        assert np.array_equal(prepare(view, size_px), prepare(image, size_px))


def test_grey_and_alpha_and_sixteen_bits() -> None:
    """Grey is repeated, alpha left out, and 16-bit grey keeps its upper byte."""
    grey = PIXELS[:, :, 0]
    assert np.array_equal(read_image(encode(grey, "PNG"), **LIMITS), np.repeat(grey[:, :, None], 3, axis=2))
    with_alpha = np.dstack([PIXELS, RNG.integers(0, 256, (61, 83), dtype=np.uint8)])
    assert np.array_equal(read_image(encode(with_alpha, "PNG"), **LIMITS), PIXELS)
    deep = (grey.astype(np.uint16) << 8) | 0x55
    assert np.array_equal(read_image(encode(deep, "PNG"), **LIMITS)[:, :, 1], grey)
    assert np.array_equal(read_image(encode(deep, "TIFF"), **LIMITS)[:, :, 2], grey)
    assert reason_of(encode(grey.astype(np.float32), "TIFF")) is Reason.UNSUPPORTED_IMAGE


@pytest.mark.parametrize("name", WHOLE)
def test_eight_bits_are_told_from_sixteen(name: str) -> None:
    """By the file and not by the pixels, which have 8 bits once they are read."""
    assert bits_of(WHOLE[name]) == 8


def test_sixteen_bits_are_told_in_grey_and_in_colour() -> None:
    """PNG and TIFF, in either order of bytes; black and white have 8."""
    deep = PIXELS.astype(np.uint16) << 8
    for suffix in (".png", ".tif"):
        for pixels in (deep, deep[:, :, 0]):
            ok, encoded = cv2.imencode(suffix, pixels)
            assert ok
            assert bits_of(encoded.tobytes()) == 16
    assert bits_of(encode(deep[:, :, 0].astype(">u2"), "TIFF")) == 16
    assert bits_of(encode(PIXELS[:, :, 0] > 100, "PNG")) == bits_of(encode(PIXELS[:, :, 0] > 100, "TIFF")) == 8


def test_orientation_flag_is_ignored() -> None:
    """Pixels come as stored, whatever EXIF says of turning them."""
    exif = Pillow.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert read_image(encode(PIXELS, "JPEG", exif=exif), **LIMITS).shape == (61, 83, 3)


@settings(max_examples=300)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_damaged_bytes_give_pixels_or_a_reason(name: str, data: st.DataObject) -> None:
    """Whatever a few changed bytes make of a file, it decodes or is refused with a reason."""
    damaged = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = read_image(bytes(damaged), max_bytes=2**20, max_pixels=1_000_000)
    except UnreadableError as error:
        assert error.detail  # noqa: PT017 - both outcomes are fine, a third is not
    else:
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert bits_of(bytes(damaged)) in (8, 16)


@pytest.mark.parametrize("largest", [1, 100, 255, 256, 4095, 65535])
def test_the_largest_value_of_a_pgm_or_ppm_becomes_255(largest: int) -> None:
    """Whatever it is; a colour that is larger is taken for it. What Pillow can read has Pillow's pixels."""
    values = RNG.integers(0, largest + 1, (61, 83, 3))
    values[0, 0] = largest
    dtype = np.uint8 if largest < 256 else ">u2"
    for magic, raw in (("P5", values[:, :, 0]), ("P6", values)):
        payload = f"{magic} 83 61\n{largest}\n".encode() + raw.astype(dtype).tobytes()
        image = read_image(payload, **LIMITS)
        expected = raw >> 8 if (magic, largest) == ("P5", 65535) else np.rint(raw / largest * 255)
        assert np.array_equal(image, np.broadcast_to(expected.reshape(61, 83, -1), (61, 83, 3)))
        if magic == "P6":
            assert np.array_equal(image, np.asarray(Pillow.open(io.BytesIO(payload)).convert("RGB")))
        assert bits_of(payload) == (16 if (magic, largest) == ("P5", 65535) else 8)
        assert reason_of(payload[:-1]) is Reason.TRUNCATED
        beyond = payload[:-1] + b"\xff"
        assert read_image(beyond, **LIMITS).shape == (61, 83, 3)
