"""What lies in a folder is read where it is a file of that size, and nothing else is opened."""

import os
import socket
from pathlib import Path

import pytest

from patchline.engine.bank.regular_file import read_regular_file
from patchline.engine.errors import BankFileError


def test_a_file_of_so_many_bytes_is_read_whole(tmp_path: Path) -> None:
    """As many bytes as are allowed are read, one more is refused with both numbers; an empty file is empty."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"x" * 5000)
    (tmp_path / "empty").touch()
    assert read_regular_file(tmp_path, "sub/a", 5000) == b"x" * 5000
    assert read_regular_file(tmp_path, "empty", 0) == b""
    with pytest.raises(BankFileError, match=r"sub/a: altered: 5,000 bytes, expected 4,999 at most"):
        read_regular_file(tmp_path, "sub/a", 4999)
    with pytest.raises(FileNotFoundError):
        read_regular_file(tmp_path, "none", 1)


def test_a_sparse_file_of_terabytes_is_not_read(tmp_path: Path) -> None:
    """Its size is known before it is opened."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(BankFileError, match=r"sparse: altered: 8,796,093,022,208 bytes, expected 1,000 at most"):
        read_regular_file(tmp_path, "sparse", 1000)


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a socket"])
def test_what_is_no_file_is_named(tmp_path: Path, kind: str) -> None:
    """A pipe that nobody writes to would be waited for without end."""
    path = tmp_path / "odd"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        socket.socket(socket.AF_UNIX).bind(str(path))
    with pytest.raises(BankFileError, match=rf"odd: is {kind}, expected a regular file"):
        read_regular_file(tmp_path, "odd", 100)


def test_links_stay_within_the_folder(tmp_path: Path) -> None:
    """A mounted volume links its files among themselves, and its folder may be a link; a link to elsewhere is none of
    it, whatever it leads to.
    """
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    (inside / "data").mkdir()
    (inside / "data" / "a").write_bytes(b"inside")
    outside.write_bytes(b"outside")
    (inside / "link").symlink_to("data/a")
    (inside / "out").symlink_to(outside)
    (inside / "device").symlink_to("/dev/zero")
    (inside / "gone").symlink_to("nothing")
    (inside / "loop").symlink_to("loop")
    (tmp_path / "bank").symlink_to(inside)
    assert read_regular_file(tmp_path / "bank", "link", 100) == b"inside"
    for name in ("out", "device", "../outside"):
        with pytest.raises(BankFileError, match=rf"{name}: leads to .*, expected a file within"):
            read_regular_file(inside, name, 100)
    with pytest.raises(FileNotFoundError):
        read_regular_file(inside, "gone", 100)
    with pytest.raises(BankFileError, match=r"loop: is a loop of links, expected a regular file"):
        read_regular_file(inside, "loop", 100)
