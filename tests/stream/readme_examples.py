"""The examples of the READMEs of the stream's rooms, and the documented frame read with changes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchline.stream.model.frame import Frame, Position
from patchline.stream.wire.frames import read_frame

ROOMS = Path(__file__).parents[2] / "stream"
POSITION = Position("patchline.frames", 0, 1041)


def documented() -> str:
    """The pages on wire formats, on alarms in Redis and on Kafka, one after another."""
    return "\n".join((ROOMS / room / "README.md").read_text() for room in ("wire", "alarms", "kafka"))


def examples(kind: str) -> list[str]:
    found = re.findall(rf"<!-- example: {kind} -->\n```\w*\n(.*?)```", documented(), re.DOTALL)
    assert found, f"no README has an example of: {kind}"
    return found


def headers_of(text: str) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, _, value in (line.partition(": ") for line in text.splitlines())]


def read(headers: Sequence[tuple[str, bytes | None]], value: bytes | None = b"foo", **more: object) -> Frame:
    fields: dict[str, Any] = {"position": POSITION, "timestamp_ms": 1_000, "key": None, "value": value}
    return read_frame(**{**fields, "headers": headers, **more})
