"""Frames on the wire: encoded image as the value, who and when in CloudEvents headers."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from patchline.stream.model.errors import Reason
from patchline.stream.model.frame import Frame, Position
from patchline.stream.wire.cloudevents import Headers, attributes_of, encode_attributes, rfc3339

FRAME: Final = "io.patchline.frame.v1"

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MAX_BYTES: Final = {"ce_id": 1024, "ce_source": 256, "ce_recipe": 256, "content-type": 256, "ce_dataref": 4096}
"""The longest headers that are taken of those that results and dead letters repeat, which must fit their topics."""


def frame_headers(
    *,
    frame_id: str,
    camera: str,
    time: datetime,
    content_type: str = "image/jpeg",
    recipe: str | None = None,
    sha256: str | None = None,
    reference: str | None = None,
) -> list[tuple[str, bytes]]:
    """The headers of a frame, for whoever produces frames.

    Args:
        frame_id: what names the frame in results.
        camera: what took it.
        time: when it was taken; with a time zone.
        content_type: the image's media type.
        recipe: how it is inspected; None: as the service's settings say.
        sha256: the SHA-256 of the image, in hex.
        reference: the URI of the image, whose record then has an empty value.
    """
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": FRAME,
        "ce_id": frame_id,
        "ce_source": camera,
        "ce_time": rfc3339(time),
        "content-type": content_type,
        "ce_recipe": recipe,
        "ce_sha256": sha256,
        "ce_dataref": reference,
    }
    return encode_attributes(attributes)


def read_frame(
    *,
    position: Position,
    timestamp_ms: int | None,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    default_recipe: str | None = None,
    camera_recipes: Mapping[str, str] | None = None,
    crashes: int | None = None,
    undecodable: str | None = None,
) -> Frame:
    """The frame in a record. It always is one: what is wrong with the record becomes the frame's `flaw`.

    A frame without an id is named by its position, one without a camera by the record's key, one without a time by
    the record's timestamp.

    Args:
        position: where the record is.
        timestamp_ms: the record's timestamp, in milliseconds since 1970; any number. None: it has none.
        key: the record's key.
        value: the record's value: the encoded image.
        headers: the record's headers.
        default_recipe: the recipe of a frame that names none, and whose camera has none.
        camera_recipes: the recipe of each camera whose frames name none.
        crashes: see `Frame.crashes`.
        undecodable: why the record could not be decoded; what else is given of it is as much as could be.
    """
    flaws: list[str] = []
    attributes = attributes_of(headers, flaws)
    for name, most in _MAX_BYTES.items():
        if len(attributes.get(name, "").encode()) > most:
            flaws.append(f"the header {name} has more than {most:,} bytes")
            del attributes[name]
    for name in ("ce_id", "ce_source"):
        if not attributes.get(name):
            flaws.append(f"the header {name} is missing")
    for name, expected in (("ce_specversion", "1.0"), ("ce_type", FRAME)):
        found = attributes.get(name)
        if found != expected:
            flaws.append(f"the header {name} is {_short(found)}, expected {expected!r}")
    time = _time_of(timestamp_ms)
    if (text := attributes.get("ce_time")) is not None:
        try:
            time = _parse_time(text)
        except ValueError:
            flaws.append(f"the header ce_time is {_short(text)}, expected RFC 3339 with a time zone")
    sha256 = attributes.get("ce_sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        flaws.append(f"the header ce_sha256 is {_short(sha256)}, expected 64 hexadecimal digits")
        sha256 = None
    reference = attributes.get("ce_dataref")
    if reference is not None and sha256 is None:
        flaws.append("the header ce_sha256 is missing, and the frame comes by reference")
    if reference is not None and value:
        flaws.append(f"the record has a value of {len(value):,} bytes and the header ce_dataref, expected one of them")
    camera = attributes.get("ce_source") or _camera_of(key) or "unknown"
    recipe = attributes.get("ce_recipe") or (camera_recipes or {}).get(camera) or default_recipe
    if recipe is None:
        flaws.append("the header ce_recipe is missing, and there is no default recipe")
    return Frame(
        frame_id=attributes.get("ce_id") or _named(position),
        camera=camera,
        recipe=recipe or "unknown",
        time=time,
        received_s=monotonic(),
        payload=value or b"",
        content_sha256=sha256,
        content_type=attributes.get("content-type"),
        position=position,
        flaw=undecodable or "; ".join(flaws) or None,
        flaw_reason=Reason.UNDECODABLE_RECORD if undecodable else Reason.MALFORMED_RECORD,
        headers=tuple((name, bytes(header or b"")) for name, header in headers),
        reference=None if undecodable else reference,
        crashes=crashes,
    )


def unread_frame(position: Position, value: bytes | None, error: Exception, *, crashes: int | None = None) -> Frame:
    """The frame in a record that `read_frame` failed at, which it never should: not inspected, as any with a flaw.

    Args:
        position: where the record is.
        value: the record's value.
        error: what was raised.
        crashes: see `Frame.crashes`.
    """
    return Frame(
        frame_id=_named(position),
        camera="unknown",
        recipe="unknown",
        time=datetime.now(UTC),
        received_s=monotonic(),
        payload=value or b"",
        position=position,
        flaw=f"the record cannot be read: {type(error).__name__}: {error}",
        crashes=crashes,
    )


def _named(position: Position) -> str:
    return f"{position.topic}/{position.partition}/{position.offset}"


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("no time zone")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("before the year 1 or after 9999") from error


def _time_of(timestamp_ms: int | None) -> datetime:
    if timestamp_ms is None:  # brokers before Kafka 0.10
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(max(0, timestamp_ms) / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # a producer may send any number
        return datetime.now(UTC)


def _camera_of(key: bytes | None) -> str:
    return (key or b"")[: _MAX_BYTES["ce_source"]].decode("utf-8", "replace")


def _short(text: str | None) -> str:
    return repr(text if text is None else text[:80])
