"""How long decoding an image may take, in seconds of a processor, and how that is kept.

Every image may take `decode_s`. One of many pixels may take longer: `ORDINARY_TIMES` as long as an ordinary image of
its format and as many pixels takes on this machine, which is measured once, when an image first takes longer than
`decode_s`. What is measured is a small image, and memory that is written for the first time: a large image takes much
of that and a small one none, and each page of it costs a fault of the kernel. The clock is that of the thread or
process that decodes, so a busy machine refuses nothing.

Readers ask for bytes piece by piece, and `TimedFile` looks at the clock when they do: at each large piece, and at some
of the small ones, of which headers take dozens. That bounds everything but
long steps within a library; images that could cause those are decoded in a process that can be killed
(`separate_process.py`).
"""

import io
import mmap
import threading
from functools import cache
from time import thread_time
from typing import Any, Protocol

import numpy as np
from PIL import Image as Pillow

from patchline.stream.decoding.structure import PROGRESSIVE
from patchline.stream.model.errors import Reason, UnreadableError

ORDINARY_TIMES = 3.0
JPEG_TIMES = 2.5
"""The JPEG that is measured is a good one, which takes half as long again as a plain one."""
PROGRESSIVE_TIMES = 1.5
"""Ordinary progressive JPEGs take some one and a half times as long as others, and may not take much longer at most."""
_SIDE_PX = 512
_TRIES = 2
_FRESH_BYTES = 2**24
_FRESH_BYTES_OF = {True: 2, False: 7}
"""For each pixel, grey and in colour, bytes of memory that decoding a large image takes: Pillow's own image has 1 or 4,
the array that is made of it 1 or 3."""
_SMALL_BYTES = 1024
_MOST_SMALL_READS = 32
"""In a row that are not timed: each look at the clock is a call of the kernel, and all of them took a tenth of the time
of a small JPEG."""
_read = io.BytesIO.read
_MEASURING = threading.Lock()
_TIFF_COMPRESSIONS = {
    "1": None,
    "5": "tiff_lzw",
    "7": "jpeg",
    "8": "tiff_adobe_deflate",
    "32773": "packbits",
    "32946": "tiff_deflate",
    "34925": "lzma",
    "50000": "zstd",
}


class Clock(Protocol):
    """Keeps the time of decoding one image."""

    def file(self, payload: bytes) -> io.BytesIO:
        """The bytes as a file that a reader reads."""

    def known(self, name: str, flavour: str, pixels: int, grey: bool) -> None:
        """The header has been read: the format, its flavour, height times width, and whether there is one channel.

        Raises:
            UnreadableError: TOO_SLOW, already.
        """


class NoClock:
    """Lets decoding take any time: for files of one's own."""

    def file(self, payload: bytes) -> io.BytesIO:
        """See `Clock`."""
        return io.BytesIO(payload)

    def known(self, name: str, flavour: str, pixels: int, grey: bool) -> None:
        """See `Clock`."""


class ThreadClock:
    """Stops a reader at its next read once this thread has decoded for too long."""

    def __init__(self, decode_s: float) -> None:
        self._decode_s = decode_s
        self._most_s = decode_s
        self._began_s = thread_time()
        self._image: tuple[str, str, int, bool] | None = None

    def file(self, payload: bytes) -> io.BytesIO:
        """See `Clock`.

        The clock starts here: looking at the headers before takes a time that is linear in the bytes.
        """
        self._began_s = thread_time()
        return TimedFile(payload, self)

    def known(self, name: str, flavour: str, pixels: int, grey: bool) -> None:
        """See `Clock`."""
        self._image = (name, flavour, pixels, grey)
        self.check()

    def check(self) -> None:
        """Look whether there is time left.

        Raises:
            UnreadableError: TOO_SLOW.
        """
        if thread_time() - self._began_s <= self._most_s:
            return
        if self._image is not None:
            image, self._image = self._image, None
            before_s = thread_time()
            self._most_s += more_s(*image)
            self._began_s += thread_time() - before_s  # what measuring took is not the image's
            self.check()
            return
        raise too_slow(self._most_s)


class TimedFile(io.BytesIO):
    """Bytes that are read under a clock."""

    def __init__(self, payload: bytes, clock: ThreadClock) -> None:
        super().__init__(payload)
        self._clock = clock
        self._small_reads = 0
        """Since the clock was looked at."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file.

        Raises:
            UnreadableError: TOO_SLOW.
        """
        if size is not None and 0 <= size < _SMALL_BYTES and self._small_reads < _MOST_SMALL_READS:
            self._small_reads += 1
        else:
            self._small_reads = 0
            self._clock.check()
        return _read(self, size)


def too_slow(most_s: float) -> UnreadableError:
    """What a frame is that outlasted its time."""
    return UnreadableError(
        Reason.TOO_SLOW,
        f"decoding took more than {most_s:.2g} s of a processor, far more than ordinary images of its size take here"
        " (limits.decode_s)",
    )


def more_s(name: str, flavour: str, pixels: int, grey: bool) -> float:
    """How much longer than `decode_s` an image may take for its pixels, in seconds.

    Args:
        name: its format.
        flavour: of a TIFF the number of its compression, and others are compared with LZW; of a JPEG `PROGRESSIVE`
            where it is; else empty.
        pixels: height times width.
        grey: whether it has one channel.
    """
    with _MEASURING:
        known = flavour if flavour in _TIFF_COMPRESSIONS or flavour == PROGRESSIVE else ""
        times = JPEG_TIMES if name == "JPEG" else ORDINARY_TIMES
        if flavour == PROGRESSIVE:
            times = PROGRESSIVE_TIMES
        return times * pixels * ordinary_s(name, known, grey)


@cache
def ordinary_s(name: str, flavour: str, grey: bool) -> float:
    """Seconds of a processor for each pixel of an ordinary image of a format, as measured here."""
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(_SIDE_PX), np.arange(_SIDE_PX)) // 8
    noise = rng.normal(0, 8, (_SIDE_PX, _SIDE_PX, 1 if grey else 3))
    pixels = np.clip(ramp[:, :, None] + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    options: dict[str, Any] = {}
    if name == "JPEG":
        options = {"quality": 90, PROGRESSIVE: flavour == PROGRESSIVE}
    if name == "TIFF":
        options["compression"] = _TIFF_COMPRESSIONS.get(flavour, "tiff_lzw")
    kind = "PPM" if name == "PGM" else name
    picture = Pillow.fromarray(pixels[:, :, 0] if grey else pixels)
    try:
        picture.save(file, kind, **options)
    except (OSError, ValueError):  # this build of libtiff cannot write it
        return ordinary_s(name, "", grey)
    best_s = float("inf")
    for _ in range(_TRIES):
        began_s = thread_time()
        file.seek(0)
        np.asarray(Pillow.open(file, formats=[kind]))
        best_s = min(best_s, thread_time() - began_s)
    return best_s / _SIDE_PX**2 + _FRESH_BYTES_OF[grey] * fresh_byte_s()


@cache
def fresh_byte_s() -> float:
    """Seconds of a processor to write a byte of memory for the first time, as measured here."""
    piece = bytes(2**20)
    best_s = float("inf")
    for _ in range(_TRIES):
        began_s = thread_time()
        with mmap.mmap(-1, _FRESH_BYTES) as memory:
            for _ in range(0, _FRESH_BYTES, len(piece)):
                memory.write(piece)
        best_s = min(best_s, thread_time() - began_s)
    return best_s / _FRESH_BYTES
