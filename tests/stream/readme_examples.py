"""The examples of stream/README.md, and its frame read with changes."""

import re
from pathlib import Path

from patchline.stream.model.frame import Frame, Position
from patchline.stream.wire.frames import read_frame

README = Path(__file__).parents[2] / "stream" / "README.md"
POSITION = Position("patchline.frames", 0, 1041)


def examples(kind: str) -> list[str]:
    found = re.findall(rf"<!-- example: {kind} -->\n```\w*\n(.*?)```", README.read_text(), re.DOTALL)
    assert found, f"the README has no example of: {kind}"
    return found


def headers_of(text: str) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, _, value in (line.partition(": ") for line in text.splitlines())]


def read(headers: list[tuple[str, bytes]], value: bytes | None = b"foo", **more: object) -> Frame:
    return read_frame(
        **{"position": POSITION, "timestamp_ms": 1_000, "key": None, "value": value, "headers": headers, **more}
    )
