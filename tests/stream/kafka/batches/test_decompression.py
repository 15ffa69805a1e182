"""What is compressed is read up to a bound, and whatever is none of it is refused by name."""

import gzip
from collections.abc import Callable
from contextlib import suppress

import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.kafka.batches import decompression
from patchline.stream.kafka.batches.decompression import DecompressionError, decompressed, missing_package

ENCODERS: dict[int, Callable[[bytes], bytes]] = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}
PLAIN = bytes(range(256)) * 1000


@pytest.mark.parametrize("codec", ENCODERS)
def test_what_the_library_compresses_is_read(codec: int) -> None:
    """All four compressions; nothing at all, too."""
    assert decompressed(codec, ENCODERS[codec](PLAIN)) == PLAIN
    assert decompressed(codec, ENCODERS[codec](b"x")) == b"x"


def test_other_forms_of_the_same_are_read() -> None:
    """Snappy in one piece, and gzip in several with padding."""
    assert decompressed(2, bytes(snappy_encode(PLAIN, xerial_compatible=False))) == PLAIN
    assert decompressed(1, gzip.compress(b"one ") + gzip.compress(b"two") + bytes(8)) == b"one two"
    assert decompressed(0, PLAIN) == PLAIN


@pytest.mark.parametrize("codec", ENCODERS)
def test_no_more_than_the_bound_is_decompressed(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes can stand for gigabytes."""
    bomb = ENCODERS[codec](bytes(2_000_000))
    monkeypatch.setattr(decompression, "_LEAST_BOUND_BYTES", 1_000_000)
    assert len(bomb) * 4 < 1_000_000
    with pytest.raises(DecompressionError, match="has more than 1,000,000 bytes without"):
        decompressed(codec, bomb)
    monkeypatch.setattr(decompression, "_LEAST_BOUND_BYTES", 2_000_000)
    assert len(decompressed(codec, bomb)) == 2_000_000


@pytest.mark.parametrize("codec", ENCODERS)
def test_what_is_cut_off_is_refused(codec: int) -> None:
    """With the name of its compression."""
    name = decompression.NAMES[codec]
    with pytest.raises(DecompressionError, match=name):
        decompressed(codec, ENCODERS[codec](PLAIN)[:-20])


@given(st.sampled_from(sorted(ENCODERS)), st.binary(max_size=60), st.booleans())
def test_nonsense_is_refused_or_read(codec: int, data: bytes, begins_well: bool) -> None:
    """Nothing else is raised, whatever a library makes of it."""
    with suppress(DecompressionError):
        decompressed(codec, (ENCODERS[codec](b"abc" * 20)[:20] if begins_well else b"") + data)


def test_what_is_not_installed_or_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """gzip and none need nothing."""
    assert {name: missing_package(name) for name in decompression.NAMES.values()} == dict.fromkeys(
        decompression.NAMES.values()
    )
    monkeypatch.setattr(decompression, "cramjam", None)
    missing = {name for name in decompression.NAMES.values() if missing_package(name) is not None}
    assert missing == {"snappy", "lz4", "zstd"}
    with pytest.raises(DecompressionError, match=r"with zstd, for which aiokafka\[snappy,lz4,zstd\] is not installed"):
        decompressed(4, zstd_encode(PLAIN))
    with pytest.raises(DecompressionError, match=r"not known \(number 7\)"):
        decompressed(7, PLAIN)
