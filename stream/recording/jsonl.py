"""Results as JSON lines, to a file or a stream."""

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.model.outcome import Outcome


class JsonLinesSink:
    """Appends each result as one line of JSON (`model.result.Result`).

    A line is handed to the operating system before the result counts as delivered. After a crash a result may be there
    twice; `frame_id` tells.

    Args:
        target: a file to append to (created where it is missing), or a binary stream that is left open.
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        self._target = target
        self._file: BinaryIO | None = None
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
        if not isinstance(self._target, Path):
            self._file = self._target
            return
        try:
            self._file = await asyncio.to_thread(self._target.open, "ab")
        except OSError as error:
            raise SinkError(f"{self._target} cannot be opened to append: {error.strerror or error}") from error

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Append and flush. Raises SinkUnavailableError on a full disk, SinkError on any other failure."""
        lines = self._encoder.encode_lines([outcome.result for outcome in outcomes])
        async with self._lock:  # lanes deliver at once, lines must not mix
            try:
                await asyncio.to_thread(self._write, lines)
            except OSError as error:
                kind = SinkUnavailableError if error.errno in (errno.ENOSPC, errno.EDQUOT) else SinkError
                raise kind(f"{self.name} cannot be written: {error.strerror or error}") from error

    def _write(self, lines: bytes) -> None:
        if self._file is None:
            raise SinkError(f"{self.name} is not open")
        self._file.write(lines)
        self._file.flush()

    async def close(self) -> None:
        """Close the file; a stream is left open."""
        file, self._file = self._file, None
        if isinstance(self._target, Path) and file is not None:
            await asyncio.to_thread(file.close)
