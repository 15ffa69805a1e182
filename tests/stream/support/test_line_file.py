"""Whole lines in a file, whatever the disk and other programs do to it."""

import errno
import os
from pathlib import Path

import pytest

from patchline.stream.support.line_file import LineFile
from tests.stream.full_disk import room_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "lines"


def opened(path: Path) -> LineFile:
    """A file to append to."""
    file = LineFile(path)
    file.open()
    return file


def test_lines_are_appended(path: Path) -> None:
    """To what was there; closing twice is closing once."""
    path.write_bytes(b"before\n")
    file = opened(path)
    file.append(b"a\nb\n")
    assert path.read_bytes() == b"before\na\nb\n"
    assert file.is_open
    file.close()
    file.close()
    assert not file.is_open
    with pytest.raises(OSError, match="not open"):
        file.append(b"c\n")


def test_a_full_disk_leaves_no_part_of_a_line(path: Path) -> None:
    """What was written in part is cut off, so that another attempt writes each line once."""
    file = opened(path)
    lines = b"".join(b"%03d %s\n" % (n, b"x" * 95) for n in range(50))
    file.append(lines)
    with room_for(len(lines) + 350):
        for _ in range(3):
            with pytest.raises(OSError) as raised:  # noqa: PT011 - its number is looked at
                file.append(lines)
            assert raised.value.errno == errno.EFBIG
            assert path.read_bytes() == lines
        file.append(lines[:100])
    file.append(lines)
    assert path.read_bytes() == lines + lines[:100] + lines
    file.close()


def test_lines_of_another_process_are_not_cut(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a line that was written in part, somebody else's may stand."""
    file = opened(path)
    write = os.write

    def full(descriptor: int, lines: memoryview) -> int:
        if bytes(lines) == b"other\n":
            return write(descriptor, lines)
        if bytes(lines).startswith(b"who"):
            write(descriptor, b"who")
            with path.open("ab") as another:
                another.write(b"another's\n")
            return 3
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        file.append(b"whole\n")
    file.append(b"other\n")
    assert path.read_bytes() == b"whoanother's\nother\n"
    file.close()


def test_what_cannot_be_cut_yet_is_cut_before_the_next_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may fail for a while in all things."""
    file = opened(path)
    write, cut = os.write, os.ftruncate

    def fails(*_: object) -> int:
        raise OSError(errno.EIO, "failed")

    def part(descriptor: int, lines: memoryview) -> int:
        monkeypatch.setattr(os, "write", fails)
        return write(descriptor, lines[:2])

    monkeypatch.setattr(os, "write", part)
    monkeypatch.setattr(os, "ftruncate", fails)
    with pytest.raises(OSError, match="failed"):
        file.append(b"whole\n")
    assert path.read_bytes() == b"wh"
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="failed"):
        file.append(b"whole\n")
    monkeypatch.setattr(os, "ftruncate", cut)
    file.append(b"whole\n")
    assert path.read_bytes() == b"whole\n"
    file.close()


@pytest.mark.parametrize(
    ("there", "kept"),
    [
        (b"", b""),
        (b"a\n", b"a\n"),
        (b"a\nhal", b"a\n"),
        (b"hal", b""),
        (b"a\n" + b"h" * 200_000, b"a\n"),
        (b"a\n" + b"\n" * 70_000 + b"h", b"a\n" + b"\n" * 70_000),
    ],
)
def test_a_torn_last_line_is_cut_when_the_file_is_opened(path: Path, there: bytes, kept: bytes) -> None:
    """A crash left it; whoever wrote it never said that it was written."""
    path.write_bytes(there)
    file = opened(path)
    file.append(b"new\n")
    assert path.read_bytes() == kept + b"new\n"
    file.close()


@pytest.mark.parametrize("how", ["rename", "unlink", "replace"])
def test_a_rotated_file_is_left_for_a_new_one(path: Path, how: str) -> None:
    """Lines that follow are in the file of the name, made anew where it is missing."""
    file = opened(path)
    file.append(b"1\n")
    if how == "unlink":
        path.unlink()
    else:
        path.rename(path.with_suffix(".1"))
        if how == "replace":
            path.write_bytes(b"0\n")
    file.append(b"2\n")
    assert path.read_bytes() == (b"0\n2\n" if how == "replace" else b"2\n")
    if how != "unlink":
        assert path.with_suffix(".1").read_bytes() == b"1\n"
    file.close()


def test_a_new_file_that_cannot_be_made_leaves_lines_in_the_old_one(path: Path) -> None:
    """As long as that has a name: into one that was removed with its folder nothing is written."""
    folder = path.parent / "folder"
    folder.mkdir()
    file = opened(folder / "lines")
    folder.rename(path.parent / "moved")
    file.append(b"1\n")
    assert (path.parent / "moved" / "lines").read_bytes() == b"1\n"
    (path.parent / "moved" / "lines").unlink()
    with pytest.raises(FileNotFoundError):
        file.append(b"2\n")
    folder.mkdir()
    file.append(b"3\n")
    assert (folder / "lines").read_bytes() == b"3\n"
    file.close()


def test_following_makes_the_new_file_at_once(path: Path) -> None:
    """So that whoever rotates can go on without waiting for a line."""
    file = opened(path)
    path.rename(path.with_suffix(".1"))
    file.follow()
    assert path.read_bytes() == b""
    file.close()
    file.follow()


def test_a_descriptor_is_written_to_and_left_open(path: Path) -> None:
    """As standard output is, where a shell opened it: at its own position, which follows a cut."""
    with path.open("wb") as stream:
        file = LineFile(stream.fileno())
        file.open()
        with room_for(30):
            file.append(b"twenty characters..\n")
            with pytest.raises(OSError, match="too large"):
                file.append(b"twenty more of them\n")
        file.append(b"end\n")
        file.close()
        assert not stream.closed
    assert path.read_bytes() == b"twenty characters..\nend\n"


def test_a_pipe_is_only_written_to(path: Path) -> None:
    """It has no size, and no last line."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = opened(path)
    file.append(b"a\n")
    assert os.read(reader, 10) == b"a\n"
    file.close()
    os.close(reader)


def test_a_file_that_may_not_be_read_is_appended_to(path: Path) -> None:
    """Its last line cannot be looked at then."""
    path.touch(0o200)
    file = opened(path)
    file.append(b"a\n")
    file.close()
    path.chmod(0o600)
    assert path.read_bytes() == b"a\n"
