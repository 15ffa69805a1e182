"""Prepared images that wait for their turn in a temporary file: a fit's memory does not grow with their number."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from patchline.engine.fitting.scratch_file import ScratchFile
from patchline.engine.types import Image


class ImageSpool(ScratchFile):
    """Named images of one size, (H, W), written once and read in order, any number of times.

    Names stay in memory, pixels lie in the file.
    """

    def __init__(self, path: Path, size_px: tuple[int, int]) -> None:
        """Create the file; raises FileExistsError rather than overwrite one."""
        super().__init__(path)
        self._shape = (*size_px, 3)
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    def append(self, name: str, image: Image) -> None:
        """Add an image, RGB uint8 (H, W, 3). Raises ValueError for another shape or type."""
        if image.shape != self._shape or image.dtype != np.uint8:
            raise ValueError(f"{name}: found {image.dtype} {image.shape}, expected uint8 {self._shape}")
        self._file.seek(len(self) * image.nbytes)
        self._file.write(np.ascontiguousarray(image).data)
        self._names.append(name)

    def __iter__(self) -> Iterator[tuple[str, Image]]:
        size = int(np.prod(self._shape))
        for position, name in enumerate(self._names):
            self._file.seek(position * size)
            yield name, np.frombuffer(self._file.read(size), dtype=np.uint8).reshape(self._shape)
