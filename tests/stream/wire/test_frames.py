from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest

from patchline.stream.model.errors import Reason
from patchline.stream.model.frame import Frame, Position
from patchline.stream.wire.frames import FRAME, frame_headers, read_frame, unread_frame

NOW = datetime(2026, 3, 2, 8, 15, 30, tzinfo=UTC)
POSITION = Position("frames", 2, 7)


def headers(**more: Any) -> dict[str, bytes]:
    fields: dict[str, Any] = {"frame_id": "f", "camera": "cam", "time": NOW, "recipe": "plate"}
    return dict(frame_headers(**(fields | more)))


def read(given: dict[str, bytes], value: bytes | None = b"image", **more: Any) -> Frame:
    fields: dict[str, Any] = {"position": POSITION, "timestamp_ms": 1_700_000_000_000, "key": b"key"}
    return read_frame(value=value, headers=list(given.items()), **(fields | more))


def test_a_frame_comes_back_from_its_headers() -> None:
    """What a producer says is what the frame is, and nothing is wrong with it."""
    before_s = monotonic()
    found = read(headers(sha256="aB" * 32, content_type="image/png"), crashes=1)
    assert found.flaw is None
    assert (found.frame_id, found.camera, found.recipe, found.time) == ("f", "cam", "plate", NOW)
    assert (found.payload, found.content_sha256, found.content_type) == (b"image", "aB" * 32, "image/png")
    assert (found.position, found.reference, found.crashes) == (POSITION, None, 1)
    assert ("ce_id", b"f") in found.headers
    assert before_s <= found.received_s <= monotonic()


def test_a_record_that_cannot_be_decoded_is_a_frame_without_bytes() -> None:
    """With what is known of it; nothing that its headers say of a reference is followed."""
    found = read(headers(reference="s3://b/f", sha256="a" * 64), None, undecodable="it is broken")
    assert (found.flaw, found.flaw_reason, found.payload) == ("it is broken", Reason.UNDECODABLE_RECORD, b"")
    assert (found.frame_id, found.camera, found.reference) == ("f", "cam", None)
    nothing = read({}, None, key=None, undecodable="it is broken")
    assert (nothing.frame_id, nothing.camera, nothing.flaw) == ("frames/2/7", "unknown", "it is broken")


def test_a_record_without_a_time_has_the_present() -> None:
    """Brokers before Kafka 0.10 keep none."""
    found = read({}, timestamp_ms=None)
    assert abs((datetime.now(UTC) - found.time).total_seconds()) < 60


def test_a_record_that_cannot_be_read_is_a_frame_with_its_bytes() -> None:
    """Whatever went wrong costs this record, and is said."""
    found = unread_frame(POSITION, b"image", KeyError("x"), crashes=1)
    assert (found.frame_id, found.payload, found.position, found.crashes) == ("frames/2/7", b"image", POSITION, 1)
    assert (found.flaw, found.flaw_reason) == ("the record cannot be read: KeyError: 'x'", Reason.MALFORMED_RECORD)
    assert unread_frame(POSITION, None, KeyError("x")).payload == b""


def test_the_headers_of_a_frame() -> None:
    """CloudEvents 1.0; what is not said is left out."""
    assert headers() == {
        "ce_specversion": b"1.0",
        "ce_type": b"io.patchline.frame.v1",
        "ce_id": b"f",
        "ce_source": b"cam",
        "ce_time": b"2026-03-02T08:15:30Z",
        "content-type": b"image/jpeg",
        "ce_recipe": b"plate",
    }
    assert headers(reference="s3://b/f")["ce_dataref"] == b"s3://b/f"
    assert FRAME == "io.patchline.frame.v1"


@pytest.mark.parametrize(
    ("changed", "value", "flaw"),
    [
        ({"ce_id": b""}, b"x", "the header ce_id is missing"),
        ({"ce_source": b""}, b"x", "the header ce_source is missing"),
        ({"ce_specversion": b"0.3"}, b"x", "the header ce_specversion is '0.3', expected '1.0'"),
        ({"ce_type": b"y" * 100}, b"x", f"the header ce_type is '{'y' * 80}', expected 'io.patchline.frame.v1'"),
        ({"ce_time": b"yesterday"}, b"x", "the header ce_time is 'yesterday', expected RFC 3339 with a time zone"),
        ({"ce_time": b"2026-01-01T00:00:00"}, b"x", "the header ce_time is '2026-01-01T00:00:00', expected RFC"),
        (
            {"ce_time": b"0001-01-01T00:00:00+01:00"},
            b"x",
            "the header ce_time is '0001-01-01T00:00:00+01:00', expected",
        ),
        ({"ce_sha256": b"g" * 64}, b"x", f"the header ce_sha256 is '{'g' * 64}', expected 64 hexadecimal digits"),
        ({"ce_sha256": b"a" * 65}, b"x", "expected 64 hexadecimal digits"),
        ({"ce_dataref": b"s3://b/f"}, b"", "the header ce_sha256 is missing, and the frame comes by reference"),
        (
            {"ce_dataref": b"s3://b/f", "ce_sha256": b"a" * 64},
            b"xy",
            "the record has a value of 2 bytes and the header ce_dataref, expected one of them",
        ),
        ({"ce_id": b"\xff"}, b"x", "the header ce_id is not UTF-8; the header ce_id is missing"),
        ({"content-type": b"c" * 257}, b"x", "the header content-type has more than 256 bytes"),
        ({"ce_dataref": b"r" * 4097}, b"x", "the header ce_dataref has more than 4,096 bytes"),
        (
            {"ce_recipe": b"r" * 257},
            b"x",
            "the header ce_recipe has more than 256 bytes; the header ce_recipe is missing",
        ),
    ],
)
def test_what_is_wrong_with_a_record_is_the_frames_flaw(changed: dict[str, bytes], value: bytes, flaw: str) -> None:
    """The record is a frame all the same, and says what was found and what was expected."""
    found = read(headers() | changed, value)
    assert found.flaw is not None
    assert flaw in found.flaw
    assert found.position == POSITION


def test_headers_of_the_longest_length_are_taken() -> None:
    """The bounds are those of bytes, and their last value is inside."""
    longest = {"ce_id": 1024, "ce_source": 256, "ce_recipe": 256, "content-type": 256}
    found = read(headers() | {name: b"x" * count for name, count in longest.items()})
    assert found.flaw is None
    for name, count in longest.items():
        assert read(headers() | {name: b"x" * (count + 1)}).flaw is not None
    reference = headers(reference="s3://b/".ljust(4096, "r"), sha256="a" * 64)
    assert read(reference, b"").flaw is None


def test_a_frame_that_does_not_name_itself_is_named_by_its_record() -> None:
    """Position, key and timestamp of the record stand in for id, camera and time; flawed fields are not kept."""
    found = read({"ce_sha256": b"short"}, None)
    assert (found.frame_id, found.camera, found.recipe) == ("frames/2/7", "key", "unknown")
    assert found.time == datetime.fromtimestamp(1_700_000_000, UTC)
    assert (found.payload, found.content_sha256) == (b"", None)
    assert read({}, key=None).camera == "unknown"
    assert read({}, key=b"k" * 300 + b"\xff").camera == "k" * 256
    assert read({}, key=b"\xff").camera == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(("timestamp_ms", "year"), [(-5, 1970), (1_700_000_000_500, 2023)])
def test_the_time_of_a_record(timestamp_ms: int, year: int) -> None:
    """Milliseconds since 1970; what lies before is 1970."""
    assert read({}, timestamp_ms=timestamp_ms).time.year == year
    assert read({}, timestamp_ms=1_700_000_000_500).time.microsecond == 500_000


def test_a_timestamp_beyond_the_calendar_is_now() -> None:
    """A producer may send any number."""
    before = datetime.now(UTC)
    assert before <= read({}, timestamp_ms=2**62).time <= datetime.now(UTC)


def test_which_recipe_a_frame_has() -> None:
    """Its own, else that of its camera, else the default; a frame with none has a flaw."""
    given = headers(recipe=None)
    known = {"cam": "bolt"}
    assert read(headers(), camera_recipes=known, default_recipe="any").recipe == "plate"
    assert read(given, camera_recipes=known, default_recipe="any").recipe == "bolt"
    assert read(given, camera_recipes={"other": "bolt"}, default_recipe="any").recipe == "any"
    assert read(given, default_recipe="any").flaw is None
    found = read(given)
    assert (found.recipe, found.flaw) == ("unknown", "the header ce_recipe is missing, and there is no default recipe")


def test_a_frame_by_reference() -> None:
    """It names its image and the image's hash, and its record is empty."""
    found = read(headers(reference="s3://b/f", sha256="a" * 64), b"")
    assert (found.flaw, found.reference, found.payload) == (None, "s3://b/f", b"")
