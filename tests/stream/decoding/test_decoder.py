import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from patchline.engine.errors import ImageError
from patchline.engine.types import Image
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.limits import Limits
from tests.stream.decoding.bombs import empty_scan, honest, scans_added
from tests.stream.scripted import frame, jpeg, picture
from tests.stream.waiting import until

LIMITS = Limits(max_frame_bytes=20_000, max_referenced_bytes=40_000, max_pixels=10_000)


class Prepare:
    """Gives back each image as it is, and remembers who asked."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    def __call__(self, recipe: str, image: Image) -> Image:
        self.threads.append(threading.current_thread().name)
        if recipe == "picky":
            raise ImageError("grey is not enough")
        return image


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    """It knows two recipes."""
    made = Decoder(Prepare(), ["plate", "picky"], LIMITS)
    yield made
    made.close()


def refused(decoder: Decoder, given: object, payload: bytes) -> UnreadableError:
    with pytest.raises(UnreadableError) as raised:
        decoder.read(given, payload)  # type: ignore[arg-type] # frames only
    return raised.value


async def test_a_frame_is_decoded_on_threads_of_its_own() -> None:
    """The image at its recipe's size, and the size that was received."""
    prepare = Prepare()
    decoder = Decoder(prepare, ["plate"], LIMITS)
    found = await decoder.decode(frame("f"), jpeg(50))
    decoder.close()
    assert found.size_px == (64, 96)
    assert found.prepared.shape == (64, 96, 3)
    assert prepare.threads[0].startswith("decode")


def test_pixels_are_taken_as_they_are(decoder: Decoder) -> None:
    """A live camera's frame is not decoded again; where it is refused there are no bytes to hash."""
    image = picture(50)
    assert decoder.read(frame("f", image=image), b"").prepared is image
    error = refused(decoder, frame("f", image=image, recipe="picky"), b"")
    assert (error.reason, str(error), error.sha256) == (Reason.UNSUPPORTED_IMAGE, "grey is not enough", None)


def test_what_is_wrong_with_the_record_comes_first(decoder: Decoder) -> None:
    """A flaw and an unknown recipe are told without a look at the bytes, whose hash goes with the error."""
    error = refused(decoder, frame("f", b"x", flaw="no camera", recipe="other"), b"x")
    assert (error.reason, str(error)) == (Reason.MALFORMED_RECORD, "no camera")
    assert error.sha256 == hashlib.sha256(b"x").hexdigest()
    error = refused(decoder, frame("f", b"x", recipe="other"), b"x")
    assert error.reason is Reason.UNKNOWN_RECIPE
    assert str(error) == "the frame asks for recipe 'other', expected one of: picky, plate"
    nobody = Decoder(Prepare(), [], LIMITS)
    assert str(refused(nobody, frame("f", b"x"), b"x")).endswith("expected one of: none")
    nobody.close()


def test_bytes_have_the_hash_that_the_producer_sent(decoder: Decoder) -> None:
    """In upper or lower case; other bytes are refused, and nothing and too much are named as such."""
    payload = jpeg(50)
    right = hashlib.sha256(payload).hexdigest()
    for sent in (right, right.upper()):
        decoder.read(replace(frame("f", payload), content_sha256=sent), payload)
    wrong = replace(frame("f", payload), content_sha256="a" * 64)
    error = refused(decoder, wrong, payload)
    assert error.reason is Reason.HASH_MISMATCH
    assert right in str(error)
    assert "a" * 64 in str(error)
    assert refused(decoder, wrong, b"").reason is Reason.EMPTY
    assert refused(decoder, wrong, bytes(20_001)).reason is Reason.TOO_MANY_BYTES
    assert refused(decoder, wrong, bytes(20_000)).reason is Reason.HASH_MISMATCH


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        (None, True),
        ("", True),
        ("image/png", True),
        ("IMAGE/Whatever; q=1", True),
        ("application/octet-stream", True),
        ("text/html", False),
        ("application/json; x=y", False),
    ],
)
def test_a_content_type_can_only_rule_an_image_out(decoder: Decoder, content_type: str | None, taken: bool) -> None:
    """The bytes decide what a frame is."""
    given = frame("f", jpeg(50), content_type=content_type)
    if taken:
        decoder.read(given, jpeg(50))
    else:
        assert refused(decoder, given, jpeg(50)).reason is Reason.NOT_AN_IMAGE
        assert refused(decoder, given, b"").reason is Reason.EMPTY


def test_frames_by_reference_have_a_bound_of_their_own(decoder: Decoder) -> None:
    """They may be larger, up to theirs."""
    given = replace(frame("f", b""), reference="s3://b/f")
    assert refused(decoder, frame("f", b"x"), bytes(20_001)).reason is Reason.TOO_MANY_BYTES
    assert refused(decoder, given, bytes(40_000)).reason is Reason.NOT_AN_IMAGE
    assert refused(decoder, given, bytes(40_001)).reason is Reason.TOO_MANY_BYTES


def test_the_bound_of_pixels_is_the_limits(decoder: Decoder) -> None:
    """64 x 96 is below it, 100 x 101 is not."""
    decoder.read(frame("f"), jpeg(50))
    assert refused(decoder, frame("f"), jpeg(50, (100, 101))).reason is Reason.TOO_MANY_PIXELS


def test_colours_stay_in_their_order(decoder: Decoder) -> None:
    """RGB, as the engine takes it."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[..., 0] = 200
    assert decoder.read(frame("f", image=image), b"").prepared[0, 0].tolist() == [200, 0, 0]


async def test_an_unusual_image_holds_up_no_ordinary_one() -> None:
    """It waits for its turn in the other process, which is told, while the threads decode what came later."""
    decoder = Decoder(Prepare(), ["plate"], Limits(decode_threads=1))
    unusual = scans_added(honest("JPEG", (61, 83), progressive=True), empty_scan() * 30)
    endless = scans_added(honest("JPEG", (1000, 1000), progressive=True), empty_scan() * 10**6)
    waiting: list[str] = []

    @contextmanager
    def told(name: str) -> Iterator[None]:
        waiting.append(name)
        try:
            yield
        finally:
            waiting.remove(name)

    slow = [
        asyncio.create_task(decoder.decode(frame(name, payload), payload, partial(told, name)))
        for name, payload in (("endless", endless), ("unusual", unusual))
    ]
    await until(lambda: waiting == ["endless", "unusual"])
    assert (await decoder.decode(frame("f"), jpeg(50), partial(told, "usual"))).size_px == (64, 96)
    assert waiting == ["endless", "unusual"]
    with pytest.raises(UnreadableError) as found:
        await slow[0]
    assert found.value.reason is Reason.TOO_SLOW
    assert found.value.sha256 == hashlib.sha256(endless).hexdigest()
    assert (await slow[1]).size_px == (61, 83)
    assert waiting == []
    assert decoder.read(frame("f"), unusual).size_px == (61, 83)
    decoder.close()


def test_an_image_has_the_time_that_the_limits_say() -> None:
    """A header without end is refused for the time that it takes, with the hash of its bytes."""
    decoder = Decoder(Prepare(), ["plate"], Limits(decode_s=0.02))
    payload = b"P6 #" + b"x" * 2**22 + b"\n8 8 255\n" + bytes(192)
    error = refused(decoder, frame("f", payload), payload)
    assert (error.reason, "limits.decode_s" in error.detail) == (Reason.TOO_SLOW, True)
    assert error.sha256 == hashlib.sha256(payload).hexdigest()
    decoder.close()
