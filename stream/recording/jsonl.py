"""Results as JSON lines, to a file or a stream."""

import asyncio
import errno
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.model.outcome import Outcome
from patchline.stream.support.line_file import LineFile
from patchline.stream.support.printable import several_lines


class JsonLinesSink:
    """Appends each result as one line of JSON (`model.result.Result`).

    A line is handed to the operating system before the result counts as delivered, whole: see `LineFile`. After a crash
    a result may be there twice; `frame_id` tells.

    Args:
        target: a file to append to (created where it is missing), or a binary stream that is left open.
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        self._target = target
        self._file: LineFile | BinaryIO | None = None
        self._on_terminal = not isinstance(target, Path) and target.isatty()
        self._encoder = msgspec.json.Encoder()
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str:
        """Names the file."""
        return f"JSON lines {self._target if isinstance(self._target, Path) else ''}".rstrip()

    async def open(self) -> None:
        """Open the file to append.

        Raises:
            SinkError: it cannot be opened.
        """
        try:
            self._file = await asyncio.to_thread(self._opened)
        except OSError as error:
            raise SinkError(f"{self._target} cannot be opened to append: {error.strerror or error}") from error

    def _opened(self) -> LineFile | BinaryIO:
        if isinstance(self._target, Path):
            file = LineFile(self._target)
        else:
            try:
                file = LineFile(self._target.fileno())
            except OSError:  # a stream in memory
                return self._target
            self._target.flush()
        file.open()
        return file

    async def reopen(self) -> None:
        """Go on in a new file at once where the old one was renamed or removed; each delivery looks for it, too."""
        async with self._lock:
            if isinstance(self._file, LineFile):
                with suppress(OSError):  # the next delivery says so
                    await asyncio.to_thread(self._file.follow)

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Append and flush. Raises SinkUnavailableError on a full disk, SinkError on any other failure."""
        lines = self._encoder.encode_lines([outcome.result for outcome in outcomes])
        if self._on_terminal:
            lines = several_lines(lines.decode()).encode()
        async with self._lock:  # lanes deliver at once, lines must not mix
            try:
                await asyncio.to_thread(self._write, lines)
            except OSError as error:
                kind = SinkUnavailableError if error.errno in (errno.ENOSPC, errno.EDQUOT) else SinkError
                raise kind(f"{self.name} cannot be written: {error.strerror or error}") from error

    def _write(self, lines: bytes) -> None:
        if self._file is None:
            raise SinkError(f"{self.name} is not open")
        if isinstance(self._file, LineFile):
            self._file.append(lines)
        else:
            self._file.write(lines)
            self._file.flush()

    async def close(self) -> None:
        """Close the file; a stream is left open."""
        file, self._file = self._file, None
        if isinstance(file, LineFile):
            await asyncio.to_thread(file.close)
