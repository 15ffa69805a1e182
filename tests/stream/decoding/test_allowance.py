"""How long decoding may take."""

import time
from collections import deque

import pytest

from patchline.stream.decoding import allowance
from patchline.stream.decoding.allowance import NoClock, ThreadClock, more_s, ordinary_s
from patchline.stream.decoding.image_file import read_image, read_view
from patchline.stream.model.errors import Reason, UnreadableError
from tests.stream.decoding.bombs import honest


def busy(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_a_reader_is_stopped_at_its_next_large_read() -> None:
    """Before its time is over it reads as from any file; the reason says how long that was."""
    clock = ThreadClock(0.05)
    file = clock.file(b"abcdef")
    assert file.read(2) == b"ab"
    file.seek(4)
    assert file.read() == b"ef"
    busy(0.06)
    for size in (2000, -1, None):
        with pytest.raises(UnreadableError, match=r"more than 0\.05 s of a processor") as found:
            file.read(size)
        assert found.value.reason is Reason.TOO_SLOW


def test_a_reader_of_small_pieces_is_stopped_before_long() -> None:
    """Not at each of them: headers are read so, and to look at the clock takes longer than to read two bytes."""
    file = ThreadClock(0.02).file(bytes(1000))
    busy(0.03)
    assert file.read(1) == b"\0"
    with pytest.raises(UnreadableError):
        deque(iter(lambda: file.read(1), b""), maxlen=0)
    assert file.tell() < 100


def test_time_that_others_take_is_not_counted() -> None:
    """The clock is that of the thread: on a busy machine a reader waits, and is refused nothing."""
    file = ThreadClock(0.02).file(b"ab")
    time.sleep(0.1)
    assert file.read() == b"ab"
    assert NoClock().file(b"ab").read() == b"ab"


def test_an_image_of_many_pixels_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what ordinary ones take, and no longer than that."""
    monkeypatch.setattr(allowance, "ordinary_s", lambda *_: 1e-6)
    clock = ThreadClock(0.02)
    file = clock.file(b"ab")
    clock.known("PNG", "", 33_000, False)  # 0.1 s more
    busy(0.05)
    assert file.read() == b"ab"
    busy(0.1)
    with pytest.raises(UnreadableError, match=r"more than 0\.12 s"):
        file.read()


def test_what_measuring_takes_is_not_the_image_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image that takes longer waits for it, and has as much time as any other."""

    def measured(*_: object) -> float:
        busy(0.1)
        return 0.0

    monkeypatch.setattr(allowance, "ordinary_s", measured)
    clock = ThreadClock(0.02)
    clock.known("JPEG", "", 1, False)
    busy(0.021)
    with pytest.raises(UnreadableError, match=r"more than 0\.02 s"):
        clock.check()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "BMP", "TIFF", "PGM", "PPM"])
def test_ordinary_images_are_measured_in_every_format(name: str) -> None:
    """Grey ones take no longer than three channels, roughly; an unknown compression is compared with LZW."""
    grey, colour = ordinary_s(name, "", True), ordinary_s(name, "", False)
    assert 0 < grey < 3 * colour < 3e-6
    assert more_s(name, "65535", 1_000, False) == more_s(name, "", 1_000, False)
    assert more_s(name, "", 0, False) == 0


@pytest.mark.parametrize("flavour", ["1", "5", "7", "8", "32773"])
def test_a_tiff_is_compared_with_its_own_compression(flavour: str) -> None:
    """Which takes its own time."""
    assert 0 < ordinary_s("TIFF", flavour, False) < 1e-6


def test_headers_without_end_are_refused_within_their_time() -> None:
    """A comment of 8 MB, which is read byte by byte, costs what `decode_s` says and no more."""
    payload = b"P6\n#" + b"x" * 2**23 + b"\n8 8\n255\n" + bytes(192)
    began = time.thread_time()
    with pytest.raises(UnreadableError) as found:
        read_view(payload, max_bytes=2**24, max_pixels=1000, clock=ThreadClock(0.05), unusual=False)
    assert found.value.reason is Reason.TOO_SLOW
    assert time.thread_time() - began < 0.2


def test_ordinary_images_have_time_enough() -> None:
    """Even where `decode_s` is next to nothing."""
    for kind in ("JPEG", "PNG", "TIFF", "BMP", "PPM"):
        for grey in (False, True):
            payload = honest(kind, (1500, 2000), grey=grey)
            view = read_view(payload, max_bytes=2**26, max_pixels=2**26, clock=ThreadClock(0.001), unusual=False)
            assert (view == read_image(payload, max_bytes=2**26, max_pixels=2**26)).all()
