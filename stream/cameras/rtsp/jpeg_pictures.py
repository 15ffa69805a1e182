"""Pictures of JPEG from their packets (RFC 2435): the headers that RTP leaves out are put back."""

from collections.abc import Iterator

from patchline.stream.cameras.rtsp.access_units import CodedPicture
from patchline.stream.cameras.rtsp.rtp import RtpPacket

_LUMA = (
    *(16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51),
    *(61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77),
    *(113, 121, 112, 100, 120, 92, 101, 103, 99),
)
_CHROMA = (17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, *(99,) * 50)
"""Tables K.1 and K.2 of the JPEG standard (ITU-T T.81), in zigzag order."""
_TABLES_GIVEN = 128
_RESTARTS = range(64, 128)
_LARGEST_JPEG_BYTES = 33_554_432


class JpegPictures:
    """Gathers the packets of a picture; every picture is a key to itself."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._timestamp = 0
        self._expected = 0
        self._whole = self._is_next = True
        self._tables: dict[int, bytes] = {}

    def take(self, packet: RtpPacket, *, lost: bool) -> Iterator[CodedPicture]:
        """The pictures that are complete with this packet: none, one, or two; see `AccessUnits.take`."""
        if self._data and packet.timestamp != self._timestamp:
            self._whole = False
            yield self._picture()
        if lost:
            self._is_next = False
        self._unpack(packet)
        if packet.marker and self._data:
            yield self._picture()

    def _picture(self) -> CodedPicture:
        data = bytes(self._data) + b"\xff\xd9"
        picture = CodedPicture(data, self._timestamp, is_key=True, is_whole=self._whole, is_next=self._is_next)
        self._data.clear()
        self._whole = self._is_next = True
        return picture

    def _unpack(self, packet: RtpPacket) -> None:
        payload = packet.payload
        if len(payload) < 8:
            return
        offset, kind, quality = int.from_bytes(payload[1:4]), payload[4], payload[5]
        width_px, height_px = payload[6] * 8, payload[7] * 8
        at = 8
        restart = 0
        if kind in _RESTARTS:
            restart = int.from_bytes(payload[at : at + 2])
            at += 4
        if offset == 0:
            self._data.clear()
            self._timestamp, self._expected, self._whole = packet.timestamp, 0, True
            tables = b""
            if quality >= _TABLES_GIVEN:
                size = int.from_bytes(payload[at + 2 : at + 4])
                tables = payload[at + 4 : at + 4 + size]
                at += 4 + size
                tables = tables or self._tables.get(quality, b"")
                self._tables[quality] = tables
            elif quality:
                tables = quantisers(quality)
            if kind & 63 > 1 or len(tables) not in (64, 128):
                self._whole = False  # of a type or with tables of a precision that is not read
                tables = quantisers(50)
            self._data += _headers(kind & 63, width_px, height_px, tables, restart)
        elif not self._data:
            self._timestamp, self._whole = packet.timestamp, False
            self._data += b"\xff\xd8"
        if offset != self._expected:
            self._whole = False
        self._expected = offset + len(payload) - at
        if len(self._data) < _LARGEST_JPEG_BYTES:
            self._data += payload[at:]
        else:
            self._whole = False


def quantisers(quality: int) -> bytes:
    """The two tables of a quality from 1 to 99, (128,) bytes in zigzag order (RFC 2435, appendix A)."""
    factor = min(max(quality, 1), 99)
    scale = 5_000 // factor if factor < 50 else 200 - 2 * factor
    return bytes(min(max((value * scale + 50) // 100, 1), 255) for value in (*_LUMA, *_CHROMA))


def _headers(kind: int, width_px: int, height_px: int, tables: bytes, restart: int) -> bytes:
    """From the beginning of an image to its first scan. Huffman tables are left out: decoders know the usual ones."""
    found = b"\xff\xd8"
    second = tables[64:] or tables
    found += b"\xff\xdb\0\x43\0" + tables[:64] + b"\xff\xdb\0\x43\1" + second[:64]
    if restart:
        found += b"\xff\xdd\0\4" + restart.to_bytes(2)
    sampling = 0x22 if kind == 1 else 0x21
    found += b"\xff\xc0\0\x11\x08" + height_px.to_bytes(2) + width_px.to_bytes(2)
    found += bytes([3, 1, sampling, 0, 2, 0x11, 1, 3, 0x11, 1])
    return found + b"\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0"
