"""Packets of RTP (RFC 3550), and what of them was lost."""

from typing import NamedTuple

_FIXED_BYTES = 12
_LARGEST_GAP = 3_000
"""A larger step in the numbers is a stream that begins anew."""


class RtpPacket(NamedTuple):
    """One packet, its header read."""

    sequence: int
    timestamp: int
    marker: bool
    payload_type: int
    source: int
    payload: bytes


def rtp_packet(data: bytes) -> RtpPacket | None:
    """The packet in some bytes; None where they are none."""
    if len(data) < _FIXED_BYTES or data[0] >> 6 != 2:
        return None
    begin, end = _FIXED_BYTES + 4 * (data[0] & 15), len(data)
    if data[0] & 16:
        if end < begin + 4:
            return None
        begin += 4 + 4 * int.from_bytes(data[begin + 2 : begin + 4])
    if data[0] & 32:
        end -= data[-1]
    if begin > end:
        return None
    return RtpPacket(
        int.from_bytes(data[2:4]),
        int.from_bytes(data[4:8]),
        bool(data[1] & 128),
        data[1] & 127,
        int.from_bytes(data[8:12]),
        data[begin:end],
    )


class Continuity:
    """Whether something is missing between one packet and the next."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._source = 0

    def ahead(self, packet: RtpPacket) -> int:
        """How many numbers lie between the packet expected and this one: 0 is the one, less than 0 came too late."""
        if self._next is None or packet.source != self._source:
            return 0
        step = (packet.sequence - self._next) & 0xFFFF
        return step - 0x10000 if step >= 0x8000 else step

    def lost_before(self, packet: RtpPacket) -> bool:
        """Take this packet for the next one; whether others are missing before it."""
        begun, ahead = self._next is not None, self.ahead(packet)
        other = begun and packet.source != self._source
        self._next, self._source = (packet.sequence + 1) & 0xFFFF, packet.source
        return other or ahead != 0

    def is_late(self, packet: RtpPacket) -> bool:
        """Whether its place has gone by."""
        return -_LARGEST_GAP < self.ahead(packet) < 0
