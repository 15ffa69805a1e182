"""A folder of image files as the frames of one camera."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from patchline.stream.cameras.config import FolderConfig
from patchline.stream.model.errors import SourceError
from patchline.stream.model.frame import Frame

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm")
"""Files that are taken for images; what they really are is told by their bytes."""


class FolderSource:
    """Every image file of a folder once, in the order of their paths; then it ends.

    A frame's id is its path below the folder, as `utf8_name` has it, its time the file's modification time. A file that
    cannot be read is a frame that is not inspected.
    """

    def __init__(self, config: FolderConfig) -> None:
        self._config = config

    async def open(self) -> None:
        """Check that the folder is there.

        Raises:
            SourceError: it is not a folder.
        """
        if not await asyncio.to_thread(self._config.path.is_dir):
            raise SourceError(f"{self._config.path} is not a folder, expected one with images")

    async def __aiter__(self) -> AsyncIterator[Frame]:
        for path in await asyncio.to_thread(image_files, self._config.path, recursive=self._config.recursive):
            yield await asyncio.to_thread(self._frame, path)

    def _frame(self, path: Path) -> Frame:
        payload, time, flaw = b"", datetime.now(UTC), None
        try:
            payload = path.read_bytes()
            time = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError as error:
            flaw = f"the file cannot be read: {error.strerror or error}"
        return Frame(
            frame_id=utf8_name(path.relative_to(self._config.path).as_posix()),
            camera=self._config.camera,
            recipe=self._config.recipe,
            time=time,
            received_s=monotonic(),
            payload=payload,
            flaw=flaw,
        )

    async def close(self) -> None:
        """Nothing is held open."""


def image_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder by suffix, in the order of their paths.

    Hidden files, and those in hidden folders, are left out: `._part.png` is what macOS keeps beside `part.png`.
    """
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(path for path in found if named_as_image(path, folder) and path.is_file())


def named_as_image(path: Path, folder: Path) -> bool:
    """Whether a path below a folder has an image's suffix, and nothing of it below that folder is hidden."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def utf8_name(name: str) -> str:
    """The name of a file or folder as text that goes into JSON and onto any terminal, and still tells them apart.

    What a name holds that is no UTF-8, Python keeps as lone surrogates, which nothing can encode: byte FC becomes
    the six characters `\\udcfc`.
    """
    return name.encode("utf-8", "backslashreplace").decode()
