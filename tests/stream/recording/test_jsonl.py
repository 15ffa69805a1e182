import asyncio
import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest

from patchline.stream.model.errors import Reason, SinkError, SinkUnavailableError, UnreadableError
from patchline.stream.model.outcome import Outcome, not_inspected
from patchline.stream.recording.jsonl import JsonLinesSink
from tests.stream.full_disk import room_for
from tests.stream.scripted import frame


def outcome(frame_id: str) -> Outcome:
    return not_inspected(frame(frame_id), UnreadableError(Reason.EMPTY, "nothing"), None)


def ids(text: bytes) -> list[str]:
    return [json.loads(line)["frame_id"] for line in text.splitlines()]


async def test_results_are_appended_to_a_file_line_by_line(tmp_path: Path) -> None:
    """What was there stays; a line is in the file when its delivery returns."""
    target = tmp_path / "results.jsonl"
    target.write_bytes(b'{"frame_id":"before"}\n')
    sink = JsonLinesSink(target)
    await sink.open()
    await sink.deliver([outcome("a"), outcome("b")])
    assert ids(target.read_bytes()) == ["before", "a", "b"]
    assert target.read_bytes().endswith(b"\n")
    await sink.close()
    with pytest.raises(SinkError, match="is not open"):
        await sink.deliver([outcome("c")])
    assert sink.name == f"JSON lines {target}"


async def test_a_stream_is_flushed_and_left_open() -> None:
    """Standard output is not this sink's to close."""
    target = io.BytesIO()
    sink = JsonLinesSink(target)
    await sink.open()
    await sink.deliver([outcome("a")])
    await sink.close()
    assert not target.closed
    assert ids(target.getvalue()) == ["a"]
    assert sink.name == "JSON lines"


async def test_lanes_that_deliver_at_once_do_not_mix_lines() -> None:
    """One delivery is written after the other."""

    class Slow(io.BytesIO):
        writing = 0

        def write(self, lines: Any) -> int:
            assert not self.writing
            self.writing += 1
            found = super().write(lines)
            self.writing -= 1
            return found

    target = Slow()
    sink = JsonLinesSink(target)
    await sink.open()
    await asyncio.gather(*(sink.deliver([outcome(str(n))]) for n in range(20)))
    assert sorted(ids(target.getvalue()), key=int) == [str(n) for n in range(20)]


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, SinkUnavailableError), (errno.EDQUOT, SinkUnavailableError), (errno.EIO, SinkError)],
)
async def test_a_full_disk_may_pass_and_nothing_else(number: int, kind: type[Exception]) -> None:
    """Space may be made; any other failure ends the stream."""

    class Failing(io.BytesIO):
        def write(self, lines: Any) -> int:
            raise OSError(number, "it failed")

    sink = JsonLinesSink(Failing())
    await sink.open()
    with pytest.raises(SinkError, match=r"^JSON lines cannot be written: it failed$") as raised:
        await sink.deliver([outcome("a")])
    assert type(raised.value) is kind


async def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """The message says which, and why; a sink that is not open takes nothing."""
    sink = JsonLinesSink(tmp_path)
    with pytest.raises(SinkError, match="cannot be opened to append: Is a directory"):
        await sink.open()
    with pytest.raises(SinkError, match="is not open"):
        await sink.deliver([outcome("a")])
    await sink.close()


async def test_a_rotated_file_is_left_for_a_new_one(tmp_path: Path) -> None:
    """At the next delivery, or at once where a signal said so; what is not open is left alone."""
    target = tmp_path / "results.jsonl"
    sink = JsonLinesSink(target)
    await sink.reopen()
    assert not target.exists()
    await sink.open()
    await sink.deliver([outcome("a")])
    target.rename(tmp_path / "results.jsonl.1")
    await sink.deliver([outcome("b")])
    target.rename(tmp_path / "results.jsonl.2")
    await sink.reopen()
    assert target.read_bytes() == b""
    await sink.deliver([outcome("c")])
    await sink.close()
    names = ("results.jsonl.1", "results.jsonl.2", "results.jsonl")
    assert [ids((tmp_path / name).read_bytes()) for name in names] == [["a"], ["b"], ["c"]]


async def test_a_disk_that_was_full_has_each_line_once(tmp_path: Path) -> None:
    """What was written in part is cut off before it is tried again; a torn line of an earlier process goes, too."""
    target = tmp_path / "results.jsonl"
    target.write_bytes(b'{"frame_id":"before"}\n{"frame_')
    sink = JsonLinesSink(target)
    await sink.open()
    batch = [outcome(f"frame-{n}") for n in range(20)]
    with room_for(1500), pytest.raises(SinkError, match="too large"):
        await sink.deliver(batch)
    await sink.deliver(batch)
    await sink.close()
    assert ids(target.read_bytes()) == ["before", *(f"frame-{n}" for n in range(20))]


async def test_a_stream_that_is_a_file_is_written_whole(tmp_path: Path) -> None:
    """Standard output may be a file on a full disk."""
    with (tmp_path / "out").open("wb") as stream:
        sink = JsonLinesSink(stream)
        await sink.open()
        with room_for(1500), pytest.raises(SinkError, match="too large"):
            await sink.deliver([outcome(f"frame-{n}") for n in range(20)])
        await sink.deliver([outcome("a")])
        await sink.close()
    assert ids((tmp_path / "out").read_bytes()) == ["a"]


async def test_names_reach_a_terminal_as_text() -> None:
    """Whoever names a frame cannot colour the screen; the JSON means the same."""

    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    target = Terminal()
    sink = JsonLinesSink(target)
    await sink.open()
    await sink.deliver([outcome("a\x9b31m\u202e"), outcome("b")])
    assert target.getvalue().isascii()
    assert ids(target.getvalue()) == ["a\x9b31m\u202e", "b"]
