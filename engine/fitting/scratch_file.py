"""A temporary file of a fit: it never overwrites another, and closing removes it."""

from pathlib import Path
from types import TracebackType
from typing import Self


class ScratchFile:
    """Opens a new file for reading and writing; as a context manager it closes itself."""

    def __init__(self, path: Path) -> None:
        """Create the file; raises FileExistsError rather than overwrite one."""
        self._path = path
        self._file = path.open("x+b")

    def close(self) -> None:
        """Close and remove the file; a second call does nothing."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
