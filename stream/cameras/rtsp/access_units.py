"""Pictures of H.264 (RFC 6184) and H.265 (RFC 7798), each as soon as its last packet is here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from patchline.stream.cameras.rtsp.rtp import RtpPacket

_NAL_START = b"\0\0\0\1"
_LARGEST_BYTES = 33_554_432
_RECOVERY_POINT = 6


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """The bytes of one picture, for a decoder."""

    data: bytes
    timestamp: int
    is_key: bool
    """Decoding can begin here."""
    is_whole: bool
    """None of its own packets is missing."""
    is_next: bool
    """Nothing is missing between the picture before and this one."""


class AccessUnits:
    """Gathers the packets of a picture.

    The marker ends a picture. Where it is missing, the next timestamp does; and where a camera sets it after every
    slice, which shows when slices follow that begin no picture, timestamps alone are gone by from then on.
    """

    def __init__(self, codec: Literal["h264", "hevc"]) -> None:
        self._h265 = codec == "hevc"
        self._by_marker = True
        self._ended: int | None = None
        self._is_next = True
        self._begin(0)

    def _begin(self, timestamp: int) -> None:
        self._data = bytearray()
        self._timestamp = timestamp
        self._whole = True
        self._key = self._slices = self._fragment = False

    def take(self, packet: RtpPacket, *, lost: bool) -> Iterator[CodedPicture]:
        """The pictures that are complete with this packet: none, one, or two.

        Args:
            packet: the next one in order.
            lost: whether others before it are missing.
        """
        if self._data and packet.timestamp != self._timestamp:
            if self._slices:
                self._whole &= not lost  # its end may be among what is missing
                yield self._picture()
            else:  # parameter sets may have a time of their own
                self._timestamp = packet.timestamp
        if not self._data:
            self._begin(packet.timestamp)
        if lost:
            self._is_next = False
            self._fragment = False
            self._whole &= not self._data
        self._unpack(packet.payload, after_loss=lost)
        if len(self._data) > _LARGEST_BYTES:
            self._begin(packet.timestamp)
            self._whole = self._is_next = False
        if packet.marker and self._by_marker and self._slices:
            self._ended = packet.timestamp
            yield self._picture()

    def _picture(self) -> CodedPicture:
        picture = CodedPicture(bytes(self._data), self._timestamp, self._key, self._whole, self._is_next)
        self._is_next = True
        self._begin(self._timestamp)
        return picture

    def _unpack(self, payload: bytes, *, after_loss: bool) -> None:
        header = 2 if self._h265 else 1
        if len(payload) <= header:
            return
        kind = payload[0] >> 1 & 63 if self._h265 else payload[0] & 31
        aggregate, fragment = (48, 49) if self._h265 else (24, 28)
        if kind == aggregate:
            at = header
            while at + 2 <= len(payload):
                size = int.from_bytes(payload[at : at + 2])
                if size == 0 or at + 2 + size > len(payload):
                    self._whole = False
                    break
                self._add(payload[at + 2 : at + 2 + size], after_loss=after_loss)
                at += 2 + size
        elif kind == fragment:
            self._add_fragment(payload, header, after_loss=after_loss)
        elif 0 < kind < aggregate or (self._h265 and kind == 0):
            self._fragment = False
            self._add(payload, after_loss=after_loss)
        else:
            self._whole = False

    def _add_fragment(self, payload: bytes, header: int, *, after_loss: bool) -> None:
        marks = payload[header]
        if marks & 0x80:
            kind = marks & 63
            first = (
                bytes([payload[0] & 0x81 | kind << 1, payload[1]])
                if self._h265
                else bytes([payload[0] & 0xE0 | marks & 31])
            )
            self._fragment = True
            self._add(first + payload[header + 1 :], after_loss=after_loss)
        elif self._fragment:
            self._data += payload[header + 1 :]
        else:  # its beginning is missing
            self._whole = False
            self._slices = True
            self._data += b"\0"
        if marks & 0x40:
            self._fragment = False

    def _add(self, unit: bytes, *, after_loss: bool) -> None:
        if len(unit) <= (2 if self._h265 else 1):
            return
        if self._h265:
            kind = unit[0] >> 1 & 63
            is_slice, key, begins = kind < 32, 16 <= kind <= 21, bool(unit[2] & 0x80)
        else:
            kind = unit[0] & 31
            is_slice, begins = 1 <= kind <= 5, bool(unit[1] & 0x80)
            key = kind == 5 or (kind == 6 and _has_recovery_point(unit[1:]))
        if is_slice and not self._slices and not begins:
            if self._ended == self._timestamp and not after_loss:
                self._by_marker = False
                self._is_next = False
            self._whole = False
        self._slices |= is_slice
        self._key |= key
        self._data += _NAL_START + unit


def _has_recovery_point(message: bytes) -> bool:
    """Whether supplemental information (H.264, 7.3.2.3) says that decoding can begin here."""
    at = 0
    while at + 2 <= len(message):
        kind = size = 0
        while at < len(message) and message[at] == 0xFF:
            kind, at = kind + 255, at + 1
        if at >= len(message):
            return False
        kind, at = kind + message[at], at + 1
        while at < len(message) and message[at] == 0xFF:
            size, at = size + 255, at + 1
        if at >= len(message):
            return False
        size, at = size + message[at], at + 1
        if kind == _RECOVERY_POINT:
            return True
        at += size
    return False
