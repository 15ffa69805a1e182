"""Files that are made to take long cost little more than honest ones of their size, and have a verdict or a reason."""

import time
from collections.abc import Iterator
from contextlib import suppress
from math import isqrt

import numpy as np
import psutil
import pytest

from patchline.engine.types import Image
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.decoding.image_file import read_view
from patchline.stream.decoding.structure import structure_of
from patchline.stream.model.errors import UnreadableError
from patchline.stream.model.limits import Limits
from tests.stream.decoding.bombs import LARGE, bombs, honest, size_of
from tests.stream.scripted import frame

MOST_S = 3.0
"""Other tests share the cores and their caches, and what is not bounded takes minutes: `make chaos` measures."""
MOST_TIMES = 4
COMPRESSIONS = {"deflated": "tiff_adobe_deflate", "LZW": "tiff_lzw", "packed strip": "packbits", "a JPEG": "jpeg"}
"""Of TIFF, which is compared with an honest one of its kind, by words in a bomb's name."""
LOOKED_S = 1.0
LOOKED_BYTE_S = 20e-9


class Timed:
    """A decoder whose time of a processor is known, wherever it is spent."""

    def __init__(self, limits: Limits) -> None:
        self.decoder = Decoder(lambda _, image: image[::64, ::64].copy(), ["plate"], limits)

    def spent_s(self) -> float:
        """Of this thread, and of the process that decodes what is unusual."""
        process = self.decoder._separate_process._process
        if process is None:
            return time.thread_time()
        beside = psutil.Process(process.pid)
        while beside.children():  # the last one's time is counted once it is gone
            time.sleep(0.001)
        return time.thread_time() + sum(beside.cpu_times()[:4])

    def decode(self, payload: bytes) -> tuple[float, str]:
        """Seconds, and the reason; empty where it was decoded."""
        began_s, reason = self.spent_s(), ""
        try:
            self.decoder.read(frame("f", payload), payload)
        except UnreadableError as error:
            reason = error.reason.value
        return self.spent_s() - began_s, reason


@pytest.fixture(scope="module")
def timed() -> Iterator[Timed]:
    """The decoder of a service, which takes larger files for honest ones; its other process runs."""
    made = Timed(Limits(max_frame_bytes=2**28))
    made.decode(honest("TIFF", (64, 64), compression="tiff_adobe_deflate"))
    yield made
    made.decoder.close()


def honest_s(timed: Timed, kind: str, pixels: int, compression: str | None) -> float:
    """What an ordinary file of a format and so many pixels takes: the least of some tries."""
    options = {} if compression is None else {"compression": compression}
    payload = honest(kind, (isqrt(pixels), isqrt(pixels)), **options)
    return min(timed.decode(payload)[0] for _ in range(2))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "PPM"])
def test_a_bomb_costs_little_more_than_an_honest_file(timed: Timed, kind: str) -> None:
    """In time of a processor, in the worker and beside it; and looking at its headers takes time linear in it."""
    ordinary: dict[tuple[int, str | None], float] = {}
    found: list[str] = []
    for name, payload in bombs():
        of, (height, width) = size_of(name)
        if of != kind:
            continue
        as_much = (height * width, next((COMPRESSIONS[word] for word in COMPRESSIONS if word in name), None))
        if as_much not in ordinary:
            ordinary[as_much] = honest_s(timed, kind, *as_much)
        began_s = time.thread_time()
        with suppress(UnreadableError):
            structure_of(payload, kind)
        looked_s = time.thread_time() - began_s
        took_s, reason = timed.decode(payload)
        most_s = MOST_S + MOST_TIMES * ordinary[as_much]
        print(f"{name}: {took_s:.3f} s of {most_s:.3f}, looked {looked_s:.3f}: {reason}")
        if took_s > most_s or looked_s > LOOKED_S + LOOKED_BYTE_S * len(payload):
            found.append(f"{name}: {took_s:.3f} s, expected at most {most_s:.3f}; looked at for {looked_s:.3f} s")
    assert found == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "quality": 80}),
        ("JPEG", {"restart_marker_blocks": 8, "quality": 80}),
        ("PNG", {"compress_level": 1}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {}),
        ("BMP", {}),
        ("PPM", {}),
    ],
)
def test_honest_files_of_as_many_pixels_as_are_allowed_all_decode(
    timed: Timed, kind: str, options: dict[str, object]
) -> None:
    """Whichever way they are compressed."""
    payload = honest(kind, LARGE, **options)
    timed.decoder._limits = Limits(max_frame_bytes=2**28)
    assert timed.decode(payload)[1] == ""


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Ordinary small files of every format with some bytes changed, cut, doubled or moved."""
    rng = np.random.default_rng(seed)
    files = [
        ("JPEG", honest("JPEG", (61, 83))),
        ("JPEG", honest("JPEG", (61, 83), progressive=True)),
        ("PNG", honest("PNG", (61, 83))),
        ("TIFF", honest("TIFF", (61, 83))),
        ("TIFF", honest("TIFF", (61, 83), compression="tiff_lzw")),
        ("TIFF", honest("TIFF", (61, 83), compression="tiff_adobe_deflate")),
        ("BMP", honest("BMP", (61, 83))),
        ("PPM", honest("PPM", (61, 83))),
    ]
    for number in range(count):
        kind, whole = files[number % len(files)]
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            at, to = sorted(rng.integers(0, min(len(damaged), 600 if rng.random() < 0.5 else len(damaged)), 2))
            match rng.integers(0, 4):
                case 0:
                    damaged[at] = rng.integers(0, 256)
                case 1:
                    damaged[at] ^= 1 << rng.integers(0, 8)
                case 2:
                    damaged[to:to] = damaged[at:to]
                case _:
                    damaged[at : at + 4] = rng.bytes(4)
        yield kind, bytes(damaged)


def test_mutants_cost_little_more_than_honest_files(timed: Timed) -> None:
    """A mutant may say that it has more pixels than it was: what it costs is compared with a file of so many."""
    timed.decoder._limits = Limits(max_pixels=10**6)
    slow = []
    for kind, payload in mutants(2_000, seed=5):
        took_s, reason = timed.decode(payload)
        if took_s > MOST_S:
            slow.append((kind, took_s, reason))
    assert slow == []


def test_images_are_views_of_what_was_read_wherever_that_was(timed: Timed) -> None:
    """The other process gives the same pixels."""
    timed.decoder._limits = Limits(max_frame_bytes=2**28)
    payload = honest("TIFF", (640, 640), compression="tiff_adobe_deflate")
    image: Image = read_view(payload, max_bytes=2**25, max_pixels=2**26)
    assert np.array_equal(timed.decoder.read(frame("f", payload), payload).prepared, image[::64, ::64])
