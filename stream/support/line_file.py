"""A file that whole lines are appended to: a full disk leaves no half of one, and a rotated file is left for a new one.

Standard output can be one as well, where it goes to a file.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

_BLOCK_BYTES = 64 * 1024


class LineFile:
    """Appends lines: all that are given at once are in the file, or none of them.

    What another program has renamed or removed (logrotate) is noticed before each write, and the file made anew. A last
    line without its end, which a crash or a power cut left, is cut off when the file is opened: whoever wrote it has
    never said that it was written. Not for several threads at once. What is no file on a disk (a pipe, a terminal) is
    only written to.

    Args:
        target: the file, created where it is missing; or a descriptor of a stream that is left open.
    """

    def __init__(self, target: Path | int) -> None:
        self._target = target
        self._descriptor: int | None = None
        self._torn_at: int | None = None
        """Where lines begin that were written in part, and could not be cut off yet."""

    @property
    def is_open(self) -> bool:
        """Whether lines can be appended."""
        return self._descriptor is not None

    def open(self) -> None:
        """Open the file; raises OSError where it cannot be."""
        if isinstance(self._target, int):
            self._descriptor = self._target
        else:
            self._descriptor = _open(self._target)

    def append(self, lines: bytes) -> None:
        """Write lines; each ends with its newline.

        Raises:
            OSError: the disk is full, or fails. None of them is in the file then, or it is not this process's alone.
        """
        self.follow()
        if self._descriptor is None:
            raise OSError("it is not open")
        self._cut_torn()
        size = _size(self._descriptor)
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._descriptor, memoryview(lines)[written:])
        except OSError:
            # Another process that appends to the file has its lines behind these: they are not ours to cut.
            if written and size is not None and _size(self._descriptor) == size + written:
                self._torn_at = size
                with suppress(OSError):
                    self._cut_torn()
            raise

    def follow(self) -> None:
        """Go on in a new file where the one that is open no longer has its name.

        A new one that cannot be made leaves lines where they went until now, as long as that file has any name.

        Raises:
            OSError: the file was removed, and cannot be made anew.
        """
        if isinstance(self._target, int) or self._descriptor is None:
            return
        ours = os.fstat(self._descriptor)
        try:
            named = self._target.stat()
            if (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except OSError:
            pass
        try:
            new = _open(self._target)
        except OSError:
            if ours.st_nlink:
                return
            raise
        os.close(self._descriptor)
        self._descriptor, self._torn_at = new, None

    def close(self) -> None:
        """Close the file; a stream is left open."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and not isinstance(self._target, int):
            os.close(descriptor)

    def _cut_torn(self) -> None:
        if self._torn_at is not None and self._descriptor is not None:
            os.ftruncate(self._descriptor, self._torn_at)
            if isinstance(self._target, int):
                os.lseek(self._descriptor, 0, os.SEEK_END)  # a shell's `>` does not append
            self._torn_at = None


def _open(path: Path) -> int:
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_RDWR, 0o666)
    except PermissionError:
        return os.open(path, flags | os.O_WRONLY, 0o666)  # one that may be written and not read
    try:
        _cut_last_line(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _size(descriptor: int) -> int | None:
    """The size of a file on a disk, in bytes; None for what is none."""
    found = os.fstat(descriptor)
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _cut_last_line(descriptor: int) -> None:
    """Cut off what follows the last newline."""
    end = size = _size(descriptor) or 0
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
