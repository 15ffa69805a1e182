import itertools
import socket
import struct
from collections.abc import Iterator
from time import monotonic

import pytest

from patchline.stream.cameras.rtsp.datagrams import Datagrams


@pytest.fixture
def ports() -> Iterator[Datagrams]:
    """Two of ours."""
    made = Datagrams(socket.AF_INET)
    yield made
    made.close()


def received(ports: Datagrams, numbers: list[int], count: int) -> list[tuple[int, bool]]:
    """Send packets of these numbers, and take so many."""
    idle, other = socket.socketpair()
    with idle, other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera:
        for number in numbers:
            camera.sendto(struct.pack(">BBHII", 0x80, 96, number, 0, 7) + b"x", ("127.0.0.1", ports.port))
        found = []
        for _ in range(count):
            taken = ports.take(monotonic() + 60, idle)
            assert taken is not None
            found.append((taken[0].sequence, taken[1]))
    return found


def test_packets_are_put_in_order(ports: Datagrams) -> None:
    """Those that came the wrong way round, twice, or over the end of the numbers."""
    assert received(ports, [65_534, 0, 65_535, 0, 2, 1], 5) == [(n, False) for n in (65_534, 65_535, 0, 1, 2)]


def test_what_never_comes_is_told(ports: Datagrams) -> None:
    """The packets after it are waited with, and then handed on as those that others are missing before."""
    assert received(ports, [10, 12, 13], 3) == [(10, False), (12, True), (13, False)]


def test_strangers_are_not_heard(ports: Datagrams) -> None:
    """Packets of another address than the camera's are passed over."""
    ports.expect("127.0.0.9", None)
    idle, other = socket.socketpair()
    with idle, other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for number in itertools.islice(itertools.count(), 3):
            stranger.sendto(struct.pack(">BBHII", 0x80, 96, number, 0, 7), ("127.0.0.1", ports.port))
        assert ports.take(monotonic() + 0.2, idle) is None
