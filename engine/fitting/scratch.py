"""Patch embeddings of a fit, streamed to a memory-mapped file of 16-bit integers: memory stays bounded by one image.

2 bytes a value: 20,000 images at 512 px, with 4,096 patches of 1,536 values each, are 252 GB as int16 on disk, not
503 GB as float32 in memory; pages of the map are the operating system's to drop.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from patchline.engine.errors import EngineError
from patchline.engine.numerics.quantise import quantise, scale_for
from patchline.engine.types import Image, Rows


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


CHUNK_VALUES = 2**22
"""Values rewritten at a time when the scale doubles (8 MiB)."""


class EmbeddingFile(ScratchFile):
    """Grows by one image at a time; afterwards all patches are one int16 array (N, D) with one scale.

    The scale is that of the largest value of all images (see `numerics.quantise`). It begins with the first's; where
    a later image needs a larger one it doubles, and what is on file is halved, rounding half to even. So the same
    images in the same order give the same file.
    """

    def __init__(self, path: Path, dimensions: int) -> None:
        """Create the file; raises FileExistsError rather than overwrite one."""
        super().__init__(path)
        self._dimensions = dimensions
        self._scale: float | None = None
        self._count = 0

    def __len__(self) -> int:
        """Patches on file."""
        return self._count

    @property
    def scale(self) -> float:
        """What one unit of the integers stands for; final once all images are in."""
        if self._scale is None:
            raise EngineError(f"{self._path}: holds no embeddings yet, so no scale is known")
        return self._scale

    def append(self, values: NDArray[np.float32]) -> None:
        """Add one image's patch embeddings, float32 (n, D). Raises EngineError for another shape and for NaN."""
        if values.ndim != 2 or values.shape[1] != self._dimensions:
            raise EngineError(f"embeddings: found shape {values.shape}, expected (n, {self._dimensions})")
        needed = scale_for(float(np.abs(values).max(initial=0.0)))
        if self._scale is None:
            self._scale = needed
        while needed > self._scale:
            self._halve()
            self._scale *= 2
        self._file.write(quantise(values, self._scale).tobytes())
        self._count += len(values)

    def rows(self) -> Rows:
        """All patches so far, int16 (N, D), memory-mapped and read-only; valid until this file is closed."""
        self._file.flush()
        if self._count == 0:
            return np.empty((0, self._dimensions), dtype=np.int16)
        return np.memmap(self._path, dtype=np.int16, mode="r", shape=(self._count, self._dimensions))

    def _halve(self) -> None:
        self._file.flush()
        if self._count == 0:
            return
        stored = np.memmap(self._path, dtype=np.int16, mode="r+", shape=(self._count * self._dimensions,))
        for start in range(0, len(stored), CHUNK_VALUES):
            part = stored[start : start + CHUNK_VALUES]
            part[:] = np.rint(part.astype(np.float32) / 2).astype(np.int16)
        stored.flush()


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
