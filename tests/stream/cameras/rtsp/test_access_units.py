import itertools
from collections.abc import Sequence
from typing import Literal

import pytest

from patchline.stream.cameras.rtsp.access_units import AccessUnits, CodedPicture
from patchline.stream.cameras.rtsp.rtp import RtpPacket
from tests.services.faultcam_clips import Codec, clip, payloads

SENT: dict[Codec, Literal["h264", "hevc"]] = {"h264": "h264", "h265": "hevc"}


def packets(codec: Codec, *, slices: int = 1, count: int = 6) -> list[RtpPacket]:
    """Pictures of 160x240, a keyframe every third, as a camera sends them."""
    units = clip(codec, 5, (160, 240), 3, 0, slices, "none", count)
    numbers = itertools.count(65_530)
    return [
        RtpPacket(next(numbers) & 0xFFFF, 18_000 * k, place == len(parts) - 1, 96, 1, part)
        for k, unit in enumerate(units)
        for parts in [[part for nal in unit.nals for part in payloads(nal, codec)]]
        for place, part in enumerate(parts)
    ]


def gathered(codec: Codec, sent: Sequence[RtpPacket], lost: frozenset[int] = frozenset()) -> list[CodedPicture]:
    """The pictures; the packets of these places are lost."""
    units = AccessUnits(SENT[codec])
    found: list[CodedPicture] = []
    missing = False
    for place, packet in enumerate(sent):
        if place in lost:
            missing = True
            continue
        found += units.take(packet, lost=missing)
        missing = False
    return found


@pytest.mark.parametrize(("codec", "slices"), [("h264", 1), ("h264", 4), ("h265", 1), ("h265", 2)])
def test_a_picture_is_out_with_its_last_packet(codec: Codec, slices: int) -> None:
    """Not with the first of the next; with all its slices; byte for byte what the encoder made."""
    units, made = AccessUnits(SENT[codec]), clip(codec, 5, (160, 240), 3, 0, slices, "none", 6)
    found = []
    for packet in packets(codec, slices=slices):
        out = list(units.take(packet, lost=False))
        assert len(out) == packet.marker
        found += out
    assert [p.data for p in found] == [b"".join(b"\0\0\0\1" + nal for nal in unit.nals) for unit in made]
    assert [p.is_key for p in found] == [True, False, False] * 2
    assert all(p.is_whole and p.is_next for p in found)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_no_loss_of_a_packet_goes_unseen(codec: Codec) -> None:
    """Whichever it is: the picture that lacks it is not whole, or the one after it is not the next."""
    sent = packets(codec)
    made = clip(codec, 5, (160, 240), 3, 0, 1, "none", 6)
    whole = {b"".join(b"\0\0\0\1" + nal for nal in unit.nals) for unit in made}
    slices = {place for place, p in enumerate(sent) if p.timestamp != sent[place - 1].timestamp or len(p.payload) > 400}
    for place in sorted(slices - {len(sent) - 1}):
        found = gathered(codec, sent, frozenset({place}))
        trusted = True
        for picture in found:
            if not (picture.is_whole and picture.is_next):
                trusted = picture.is_key and picture.is_whole
            trusted |= picture.is_key and picture.is_whole
            if trusted and not picture.is_key:
                assert picture.data in whole
        assert any(not (p.is_whole and p.is_next) for p in found), place


def test_without_markers_the_next_time_ends_a_picture() -> None:
    """A camera that sets none is read one picture late, and whole."""
    sent = [packet._replace(marker=False) for packet in packets("h264", slices=4)]
    found = gathered("h264", sent)
    assert len(found) == 5
    assert all(p.is_whole and p.is_next for p in found)


def test_a_marker_after_every_slice_is_seen_through() -> None:
    """The first picture shows it, and is not whole; then timestamps count."""
    sent = [packet._replace(marker=True) for packet in packets("h264", slices=4) if len(packet.payload) > 0]
    found = gathered("h264", sent)
    assert not all(p.is_whole for p in found[:2])
    later = [p for p in found if p.timestamp >= 36_000]
    made = clip("h264", 5, (160, 240), 3, 0, 4, "none", 6)
    assert [p.data for p in later] == [b"".join(b"\0\0\0\1" + nal for nal in unit.nals) for unit in made[2:5]]


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_random_bytes_end_in_nothing_worse_than_a_picture_that_is_not_whole(codec: Codec) -> None:
    """No payload raises."""
    units = AccessUnits(SENT[codec])
    for number in range(400):
        payload = bytes((number * 37 + i * 101) & 255 for i in range(number % 23))
        list(units.take(RtpPacket(number, number, number % 3 == 0, 96, 1, payload), lost=number % 7 == 0))
