import struct

import cv2
import numpy as np

from patchline.stream.cameras.rtsp.jpeg_pictures import JpegPictures, quantisers
from patchline.stream.cameras.rtsp.rtp import RtpPacket
from tests.services.faultcam_clips import scene

SIZE = (64, 96)


def sent(quality: int = 80) -> tuple[list[RtpPacket], np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """A picture's packets as RFC 2435 has them, with its tables in the first, and the picture itself."""
    picture = scene(SIZE, 3)
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    data = cv2.imencode(".jpg", picture, options)[1].tobytes()
    tables = b"".join(data[at + 5 : at + 69] for at in (data.find(b"\xff\xdb\0\x43\0"), data.find(b"\xff\xdb\0\x43\1")))
    scan = data.index(b"\xff\xda")
    scan += 2 + struct.unpack(">H", data[scan + 2 : scan + 4])[0]
    body, packets = data[scan:-2], []
    for number, at in enumerate(range(0, len(body), 900)):
        header = struct.pack(">I", at) + bytes([1, 255, SIZE[1] // 8, SIZE[0] // 8])
        given = b"\0\0" + struct.pack(">H", 128) + tables if at == 0 else b""
        payload = header + given + body[at : at + 900]
        packets.append(RtpPacket(number, 100, at + 900 >= len(body), 26, 1, payload))
    return packets, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]


def test_a_picture_comes_back_as_it_was() -> None:
    """The headers that RTP leaves out are put back: the same pixels."""
    packets, picture = sent()
    pictures = JpegPictures()
    found = [out for packet in packets for out in pictures.take(packet, lost=False)]
    assert len(found) == 1
    assert found[0].is_whole
    assert found[0].is_key
    decoded = cv2.imdecode(np.frombuffer(found[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(decoded, picture)


def test_a_picture_that_lacks_a_packet_is_not_whole() -> None:
    """Whichever it is."""
    packets, _ = sent(95)
    for missing in range(len(packets) - 1):
        pictures = JpegPictures()
        found = [
            out
            for place, packet in enumerate(packets)
            if place != missing
            for out in pictures.take(packet, lost=place == missing + 1)
        ]
        assert [p.is_whole for p in found] == [False], missing


def test_tables_of_a_quality_are_the_standards_scaled() -> None:
    """50 gives the tables themselves, better ones are finer."""
    assert quantisers(50)[:4] == bytes([16, 11, 12, 14])
    assert sum(quantisers(90)) < sum(quantisers(50)) < sum(quantisers(10))
    assert min(quantisers(99)) >= 1
