import pytest

from patchline.stream.cameras.decoder import PictureDecoder
from patchline.stream.model.errors import DropCause
from tests.services.faultcam_clips import Codec, clip


class Plain:
    """A feed of which only the codec counts."""

    parameter_sets = b""
    context = None

    def __init__(self, codec: Codec) -> None:
        self.codec = {"h264": "h264", "h265": "hevc"}[codec]


def coded(codec: Codec, *, b_frames: int = 0, slices: int = 1) -> list[bytes]:
    units = clip(codec, 5, (96, 128), 10, b_frames, slices, "none", 20)
    return [b"".join(b"\0\0\0\1" + nal for nal in unit.nals) for unit in units]


def decoder(codec: Codec, max_pixels: int = 1_000_000) -> PictureDecoder:
    return PictureDecoder(Plain(codec), max_pixels=max_pixels, live=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(("codec", "slices"), [("h264", 1), ("h264", 4), ("h265", 1), ("h265", 2)])
def test_a_picture_comes_out_with_its_own_bytes(codec: Codec, slices: int) -> None:
    """The decoder holds none back where there are no B-frames."""
    made = decoder(codec)
    for number, data in enumerate(coded(codec, slices=slices), 1):
        assert [place for place, _ in made.decode(data, number)] == [number]
    assert not made.reorders
    assert made.end() == []
    assert made.lost == []


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_pictures_that_are_held_back_come_at_the_end(codec: Codec) -> None:
    """With B-frames: each once, those of the flush too."""
    made = decoder(codec)
    found = [n for number, data in enumerate(coded(codec, b_frames=2), 1) for n, _ in made.decode(data, number)]
    assert made.reorders
    assert len(found) < 20
    found += [n for n, _ in made.end()]
    assert sorted(found) == list(range(1, 21))
    assert made.lost == []


def test_what_cannot_be_decoded_is_lost_for_a_cause() -> None:
    """A keyframe of noise fails, and the next one is decoded."""
    data = coded("h264")
    made = decoder("h264")
    broken = data[0][:-300] + bytes(range(1, 251)) + bytes(50)
    assert made.decode(broken, 1) == []
    assert made.failed
    assert made.lost == [DropCause.UNDECODABLE]
    made.end()
    assert [n for n, _ in made.decode(data[10], 2)] == [2]


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_pictures_that_are_too_large_are_not_decoded(codec: Codec) -> None:
    """No memory is taken for them."""
    made = decoder(codec, max_pixels=96 * 127)
    assert made.decode(coded(codec)[0], 1) == []
    assert made.lost in ([DropCause.TOO_MANY_PIXELS], [DropCause.UNDECODABLE])
    assert made.failed
