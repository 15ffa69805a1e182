"""From the bytes of an image file to pixels, refusing what is not whole.

The same function reads the frames of the stream and the files of the command line, so both see the same pixels.

What is read: JPEG, PNG, BMP, TIFF and PNM, told by their first bytes. Pixels are taken as stored:

- EXIF orientation is ignored. A camera does not turn between two frames; a flag that came and went would turn its
  pictures under a bank that was fitted to one view.
- Grey becomes three equal channels; an alpha channel is left out (nothing is blended); a palette is resolved.
- 16-bit grey keeps its upper 8 bits, so a 12-bit camera has to align its values to the left. A PGM or PPM says its
  largest value, which becomes 255.
- 32-bit and floating-point pixels are refused: their range is not known.

The size is read from the header and checked before anything is decoded. Pillow decodes strictly: a JPEG that ends
before its end marker is an error, where OpenCV fills the rest with grey. How long decoding may take is a `Clock`'s to
say (`allowance.py`).
"""

import io
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, TiffImagePlugin
from PIL.ImageFile import ImageFile

from patchline.engine.types import Image
from patchline.stream.decoding.allowance import Clock, NoClock
from patchline.stream.decoding.structure import PNG_MAGIC, Structure, structure_of
from patchline.stream.model.errors import Reason, UnreadableError

_Opener: TypeAlias = Callable[[io.BytesIO], ImageFile]

# Opened by class and not by PIL.Image.open: no other plugin sees the bytes (some start programs), and the pixel limit
# is ours alone instead of a global of the process.
_FORMATS: tuple[tuple[bytes, str, _Opener], ...] = (
    (b"\xff\xd8\xff", "JPEG", JpegImagePlugin.JpegImageFile),
    (PNG_MAGIC, "PNG", PngImagePlugin.PngImageFile),
    (b"BM", "BMP", BmpImagePlugin.BmpImageFile),
    (b"II*\x00", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"MM\x00*", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"P5", "PGM", PpmImagePlugin.PpmImageFile),
    (b"P6", "PPM", PpmImagePlugin.PpmImageFile),
)
_BITS_PER_SAMPLE = 258  # the tag of TIFF
_EIGHT_BIT_MODES = ("L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "1", "CMYK", "YCbCr")
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")


class UnusualImageError(Exception):
    """A file of the format `name` whose time of decoding its size does not bound: `structure.unusual` says why."""

    def __init__(self, name: str, structure: Structure) -> None:
        super().__init__(f"the {name} {structure.unusual}")
        self.name, self.structure = name, structure


def read_image(payload: bytes, *, max_bytes: int, max_pixels: int) -> Image:
    """`read_view`, C-contiguous and writable."""
    return np.require(read_view(payload, max_bytes=max_bytes, max_pixels=max_pixels), requirements=("C", "W"))


def read_view(
    payload: bytes,
    *,
    max_bytes: int,
    max_pixels: int,
    clock: Clock | None = None,
    unusual: bool = True,
    structure: Structure | None = None,
) -> Image:
    """Decode an image file.

    Args:
        payload: the whole file.
        max_bytes: more is refused unread.
        max_pixels: height times width in the header; more is refused undecoded.
        clock: how long it may take; None: as long as it takes.
        unusual: whether files are decoded whose time pixels and bytes do not bound.
        structure: what its headers say, where they have been looked at.

    Returns:
        RGB uint8 (H, W, 3), C-contiguous; where the image is grey, one channel seen three times (stride 0), read-only.

    Raises:
        UnreadableError: with the reason: EMPTY, TOO_MANY_BYTES, NOT_AN_IMAGE, TOO_MANY_PIXELS, UNSUPPORTED_IMAGE,
            TRUNCATED, CORRUPT or TOO_SLOW.
        UnusualImageError: the file is unusual, and such are not decoded here.
    """
    if not payload:
        raise UnreadableError(Reason.EMPTY, "the frame has zero bytes, expected an image file")
    if len(payload) > max_bytes:
        raise UnreadableError(
            Reason.TOO_MANY_BYTES, f"the frame has {len(payload):,} bytes, expected at most {max_bytes:,}"
        )
    name, opener = _format(payload)
    clock = clock or NoClock()
    structure = structure or structure_of(payload, name)
    if structure.unusual is not None and not unusual:
        raise UnusualImageError(name, structure)
    try:
        # The reader looks at the header only; pixels are decoded by load().
        picture = opener(clock.file(structure.payload))
    except UnreadableError:
        raise
    except Exception as error:  # Pillow's readers raise anything; nothing of ours runs inside
        reason = Reason.TRUNCATED if _mentions_truncation(error) else Reason.CORRUPT
        raise UnreadableError(reason, f"the {name} header cannot be read: {_message_of(error)}") from error
    scaled = _scaled_pnm(picture)
    _check_header(payload, name, picture, max_pixels, known_range=scaled is not None)
    if structure.cut is not None:
        raise UnreadableError(Reason.TRUNCATED, structure.cut)
    grey = picture.mode in ("1", "L", *_SIXTEEN_BIT_MODES)
    clock.known(name, structure.flavour, picture.width * picture.height, grey)
    try:
        if scaled is not None:
            return scaled(structure.payload)
        picture.load()
        return _rgb(picture)
    except UnreadableError:
        raise
    except Exception as error:
        reason = Reason.TRUNCATED if _mentions_truncation(error) else Reason.CORRUPT
        raise UnreadableError(reason, f"the {name} cannot be decoded: {_message_of(error)}") from error


def _check_header(payload: bytes, name: str, picture: ImageFile, max_pixels: int, *, known_range: bool) -> None:
    width, height = picture.size
    if height * width > max_pixels:
        raise UnreadableError(
            Reason.TOO_MANY_PIXELS,
            f"the {name} header says {height:,} x {width:,} pixels (H x W), expected at most {max_pixels:,} in all",
        )
    if height == 0 or width == 0:
        raise UnreadableError(Reason.CORRUPT, f"the {name} header says {height} x {width} pixels (H x W)")
    if picture.mode not in _EIGHT_BIT_MODES + _SIXTEEN_BIT_MODES and not known_range:
        raise UnreadableError(
            Reason.UNSUPPORTED_IMAGE,
            f"the {name} has pixels of Pillow mode {picture.mode}, expected 8 bits a channel or 16-bit grey",
        )
    if name == "BMP" and struct.unpack_from("<I", payload, 2)[0] > len(payload):
        raise UnreadableError(Reason.TRUNCATED, f"the BMP ends after {len(payload):,} bytes, its header says more")


def _scaled_pnm(picture: ImageFile) -> Callable[[bytes], Image] | None:
    """What reads the pixels of a PGM or PPM that Pillow reads in Python, sample by sample, or not at all.

    Pillow scales a largest value other than 255 in a loop, and gives 32-bit pixels for 16-bit ones.
    """
    if not isinstance(picture, PpmImagePlugin.PpmImageFile):
        return None
    (codec, _, offset, args), (width, height) = picture.tile[0], picture.size
    if codec != "ppm" and picture.mode != "I":
        return None
    largest = args[1] if codec == "ppm" and isinstance(args, tuple) else 65_535
    channels = 3 if picture.mode == "RGB" else 1

    def read(payload: bytes) -> Image:
        dtype: np.dtype[Any] = np.dtype(np.uint8 if largest < 256 else ">u2")
        count = height * width * channels
        if len(payload) - offset < count * dtype.itemsize:
            raise UnreadableError(
                Reason.TRUNCATED, f"the image ends after {len(payload):,} bytes, its header says more"
            )
        values = np.frombuffer(payload, dtype, count, offset)
        if codec != "ppm":
            pixels = np.right_shift(values, 8).astype(np.uint8)  # as of every other 16-bit file
        else:
            scale = np.minimum(255, np.rint(np.arange(65_536) / largest * 255)).astype(np.uint8)
            pixels = scale[values]
        return pixels.reshape(height, width, 3) if channels == 3 else _grey(pixels.reshape(height, width))

    return read


def bits_of(payload: bytes) -> int:
    """How many bits a file that `read_view` reads has for each sample of a pixel: 8, or 16 and the upper 8 are kept.

    Fewer than 8, as black and white have, count as 8.
    """
    name, opener = _format(payload)
    if name == "JPEG":
        return 8
    if name == "PNG":
        return 16 if payload[24] == 16 else 8  # the bit depth in IHDR, which is a PNG's first chunk
    picture = opener(io.BytesIO(payload))
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return 16 if max(picture.tag_v2.get(_BITS_PER_SAMPLE, ()), default=8) > 8 else 8
    if isinstance(picture, PpmImagePlugin.PpmImageFile):
        return 16 if picture.tile[0].codec_name == "raw" and picture.mode == "I" else 8
    return 16 if picture.mode in _SIXTEEN_BIT_MODES else 8


def _format(payload: bytes) -> tuple[str, _Opener]:
    for magic, name, opener in _FORMATS:
        if payload.startswith(magic):
            return name, opener
    raise UnreadableError(
        Reason.NOT_AN_IMAGE,
        f"the frame begins with {payload[:8]!r}, which is none of JPEG, PNG, BMP, TIFF, PGM and PPM",
    )


def _rgb(picture: ImageFile) -> Image:
    if picture.mode in _SIXTEEN_BIT_MODES:
        grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        return _grey(grey)
    if picture.mode == "L":
        return _grey(np.asarray(picture))
    if picture.mode in ("LA", "PA", "RGBA", "RGBX"):
        # convert("RGB") leaves the alpha channel out without blending.
        return np.ascontiguousarray(np.asarray(picture.convert("RGB")))
    return np.ascontiguousarray(np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB")))


def _grey(pixels: Image) -> Image:
    height, width = pixels.shape
    return np.broadcast_to(pixels[:, :, None], (height, width, 3))


def _mentions_truncation(error: BaseException) -> bool:
    # Pillow has no type for it; both of its spellings, and what struct says of a header that stops short.
    text = str(error).lower()
    return "truncated" in text or "unexpected end" in text or "requires a buffer" in text


def _message_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
