from datetime import UTC, datetime
from time import monotonic

from patchline.stream.model.frame import POISON_CRASHES, Frame, Position, lane_of
from tests.stream.scripted import frame


def test_the_lane_of_a_frame() -> None:
    """Frames with a position keep the order of their partition, others that of their camera."""
    assert lane_of(frame("1", position=Position("frames", 3, 7), camera="cam-1")) == ("frames", 3)
    assert lane_of(frame("1", camera="cam-1")) == ("cam-1", -1)
    assert lane_of(frame("1", position=Position("frames", 0, 0))) == ("frames", 0)


def test_a_frame_of_bytes_alone() -> None:
    """It has no camera and no position, and was taken and received now."""
    before, before_s = datetime.now(UTC), monotonic()
    made = Frame.of_bytes("f", "plate", b"image")
    assert before <= made.time <= datetime.now(UTC)
    assert before_s <= made.received_s <= monotonic()
    assert (made.frame_id, made.camera, made.recipe, made.payload) == ("f", "", "plate", b"image")
    assert (made.image, made.position, made.flaw, made.reference, made.crashes) == (None, None, None, None, None)


def test_pixels_and_headers_are_not_printed() -> None:
    """What prints a frame prints no image."""
    assert "image" not in repr(frame("f", b"image-bytes", headers=(("image-header", b"x"),))).replace("image/", "")


def test_two_crashes_speak_against_a_frame() -> None:
    """One crash may be chance."""
    assert POISON_CRASHES == 2
