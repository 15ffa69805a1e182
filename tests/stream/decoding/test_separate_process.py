"""Unusual images, decoded in a process of their own."""

import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from patchline.stream.decoding.image_file import UnusualImageError, read_image, read_view
from patchline.stream.decoding.separate_process import SeparateProcess
from patchline.stream.decoding.structure import Structure
from patchline.stream.model.errors import Reason, UnreadableError
from tests.stream.decoding.bombs import bmp, empty_scan, honest, scans_added, tiff

LIMITS = {"max_bytes": 2**25, "max_pixels": 2**26}
SIZE = (61, 83)


@pytest.fixture
def process() -> Iterator[SeparateProcess]:
    """One that has not begun."""
    made = SeparateProcess(0.2)
    yield made
    made.close()


def unusual(payload: bytes) -> UnusualImageError:
    with pytest.raises(UnusualImageError) as found:
        read_view(payload, max_bytes=2**25, max_pixels=2**26, unusual=False)
    return found.value


def refused(process: SeparateProcess, image: UnusualImageError) -> UnreadableError:
    with pytest.raises(UnreadableError) as found:
        process.read_view(image, **LIMITS)
    return found.value


def its_process(process: SeparateProcess) -> psutil.Process:
    assert process._process is not None
    return psutil.Process(process._process.pid)


def test_pixels_are_those_that_are_read_here(process: SeparateProcess) -> None:
    """Of colour and grey, one after another in the same process; grey ones are views, as here."""
    first = None
    for payload in (
        scans_added(honest("JPEG", SIZE, progressive=True), empty_scan() * 30),
        scans_added(honest("JPEG", SIZE, progressive=True, grey=True), empty_scan() * 30),
        honest("TIFF", SIZE, compression="tiff_adobe_deflate"),
        bmp((4, 4), b"\4\x80\0\0" * 4 + b"\0\1", 1),
    ):
        view = process.read_view(unusual(payload), **LIMITS)
        assert np.array_equal(view, read_image(payload, **LIMITS))
        assert view.strides == read_view(payload, max_bytes=2**25, max_pixels=2**26).strides
        first = first or its_process(process).pid
    assert its_process(process).pid == first


def test_what_computes_for_too_long_is_ended_and_the_process_goes_on(process: SeparateProcess) -> None:
    """After its own time of a processor, however small the image; the next one is decoded."""
    endless = scans_added(honest("JPEG", (2000, 2000), progressive=True), empty_scan() * 10**6)
    error = refused(process, unusual(endless))
    assert (error.reason, "limits.decode_s" in str(error)) == (Reason.TOO_SLOW, True)
    before = its_process(process).pid
    usual = scans_added(honest("JPEG", SIZE, progressive=True), empty_scan() * 30)
    assert process.read_view(unusual(usual), **LIMITS).shape == (*SIZE, 3)
    assert its_process(process).pid == before


def test_what_is_wrong_with_an_image_is_said_as_here(process: SeparateProcess) -> None:
    """With its reason."""
    broken = UnusualImageError("TIFF", Structure(tiff(SIZE, b"no stream", compression=8), "odd", "8"))
    assert refused(process, broken).reason is Reason.CORRUPT
    large = UnusualImageError("TIFF", Structure(tiff((10_000, 10_000), b"", compression=8), "odd", "8"))
    assert refused(process, large).reason is Reason.TOO_MANY_PIXELS


def test_memory_is_bounded_too(process: SeparateProcess) -> None:
    """A small TIFF of a tile of 3 GB is refused, and nobody else's memory is taken."""
    huge = unusual(tiff((64, 64), zlib.compress(bytes(2**20)), compression=8, tile=(32_768, 32_768)))
    with pytest.raises(UnreadableError) as found:
        process.read_view(huge, max_bytes=2**25, max_pixels=10_000)
    assert found.value.reason is Reason.CORRUPT
    before = its_process(process).pid
    usual = scans_added(honest("JPEG", SIZE, progressive=True), empty_scan() * 30)
    assert process.read_view(unusual(usual), **LIMITS).shape == (*SIZE, 3)
    assert its_process(process).pid == before


def test_a_process_that_dies_costs_one_image(process: SeparateProcess) -> None:
    """Which says so; one that had died before is started anew for the next image, which is none the worse."""
    usual = unusual(scans_added(honest("JPEG", SIZE, progressive=True), empty_scan() * 30))
    assert process.read_view(usual, **LIMITS).shape == (*SIZE, 3)
    os.kill(its_process(process).pid, signal.SIGKILL)
    assert process.read_view(usual, **LIMITS).shape == (*SIZE, 3)
    patient = SeparateProcess(60.0)
    endless = unusual(scans_added(honest("JPEG", (2000, 2000), progressive=True), empty_scan() * 10**6))

    def kill() -> None:
        while patient._process is None or not psutil.Process(patient._process.pid).children():
            time.sleep(0.01)
        psutil.Process(patient._process.pid).children()[0].kill()

    killing = threading.Thread(target=kill)
    killing.start()
    error = refused(patient, endless)
    killing.join()
    patient.close()
    assert (error.reason, "SIGKILL" in str(error)) == (Reason.CORRUPT, True)


def test_an_answer_that_never_comes_is_not_waited_for() -> None:
    """The process is ended with its child, by the clock on the wall, and so it is when nobody needs it any more."""
    impatient = SeparateProcess(600.0, wall_s=3.0)
    endless = unusual(scans_added(honest("JPEG", (2000, 2000), progressive=True), empty_scan() * 10**6))
    error = refused(impatient, endless)
    assert (error.reason, "without a word" in str(error)) == (Reason.CORRUPT, True)
    usual = unusual(scans_added(honest("JPEG", SIZE, progressive=True), empty_scan() * 30))
    impatient.read_view(usual, **LIMITS)
    last = its_process(impatient)
    impatient.close()
    last.wait(10)
    with pytest.raises(UnreadableError, match="closed"):
        impatient.read_view(usual, **LIMITS)
