import struct

import pytest

from patchline.stream.cameras.rtsp.rtp import Continuity, RtpPacket, rtp_packet


def packet(sequence: int, source: int = 7) -> RtpPacket:
    return RtpPacket(sequence, 0, False, 96, source, b"")


def test_a_header_with_everything_in_it() -> None:
    """Contributing sources, an extension and padding are no payload."""
    extension = struct.pack(">HHI", 1, 1, 99)
    data = struct.pack(">BBHII", 0x80 | 32 | 16 | 2, 128 | 96, 5, 6, 7) + bytes(8) + extension + b"picture" + b"\0\0\3"
    assert rtp_packet(data) == RtpPacket(5, 6, True, 96, 7, b"picture")


@pytest.mark.parametrize("data", [b"", bytes(12), b"\x80" * 11, b"\xbf" + bytes(11), b"\x90" + bytes(12)])
def test_what_is_no_packet(data: bytes) -> None:
    """Another version, or a header that is longer than the bytes."""
    assert rtp_packet(data) is None


def test_what_is_missing_is_seen_over_the_end_of_the_numbers() -> None:
    """Numbers count to 65,535 and begin again; another source begins anew, and something may be lost there."""
    continuity = Continuity()
    told = [continuity.lost_before(packet(number)) for number in (65_534, 65_535, 0, 2, 3)]
    assert told == [False, False, False, True, False]
    assert continuity.is_late(packet(1))
    assert not continuity.is_late(packet(4))
    assert continuity.lost_before(packet(4, source=8))
