"""Reading a file of this machine that may be anything: whole, or not at all.

Whoever can write to a folder can put a pipe there that never ends, a device, a link to another place, or a sparse file
of terabytes. None of it is opened before it is known what it is, and no more is read than was asked for.
"""

import os
import stat
from pathlib import Path

from patchline.engine.errors import BankFileError

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def read_regular_file(folder: Path, name: str, most_bytes: int) -> bytes:
    """The content of a file below a folder.

    A link is followed as long as it stays within the folder, as those of a mounted volume do.

    Args:
        folder: the file's, or one above it; it may be a link itself.
        name: relative to it, with `/` between folders.
        most_bytes: more is not read.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read now.
        BankFileError: it is no regular file, lies elsewhere, or is larger.
    """
    path = folder / name
    try:
        real = path.resolve()
    except RuntimeError as error:
        raise BankFileError(f"{path}: is a loop of links, expected a regular file") from error
    if not real.is_relative_to(folder.resolve()):
        raise BankFileError(f"{path}: leads to {real}, expected a file within {folder}")
    _size(path, real.stat(follow_symlinks=False), most_bytes)  # before it is opened: a device may notice that
    with os.fdopen(os.open(real, _FLAGS), "rb") as file:
        return file.read(_size(path, os.fstat(file.fileno()), most_bytes))


def _size(path: Path, found: os.stat_result, most_bytes: int) -> int:
    """Bytes of a regular file that is not too large; raises BankFileError for any other."""
    if not stat.S_ISREG(found.st_mode):
        raise BankFileError(f"{path}: is {_kind_of_file(found.st_mode)}, expected a regular file")
    if found.st_size > most_bytes:
        raise BankFileError(f"{path}: altered: {found.st_size:,} bytes, expected {most_bytes:,} at most")
    return found.st_size


def _kind_of_file(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFLNK: "a link that has changed meanwhile",
    }
    return kinds.get(stat.S_IFMT(mode), "no file")
