"""Temporary files of a fit, so that its memory stays bounded by one image, however many images there are.

Images that are needed again wait in an `ImageSpool`. Patch embeddings go to an `EmbeddingFile` for each fold, as 16-bit
integers with one scale; those of the calibration frames, which learning needs later, to a `KeptPatches`. At 2 bytes a
value, 20,000 images at 512 px with 4,096 patches of 1,536 values each are 252 GB on disk, not 503 GB as float32 in
memory. Embeddings are read back as memory maps, whose pages the operating system may drop.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from patchline.engine.errors import EngineError
from patchline.engine.numerics.quantise import quantise, scale_for
from patchline.engine.types import Image, Rows

HALVED_VALUES = 2**22
"""Values that are rewritten at a time when the scale doubles (8 MiB)."""


class ScratchFile:
    """A new file, open for reading and writing, that is removed when it is closed; a context manager closes it."""

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


class ImageSpool(ScratchFile):
    """Named images of one size, (H, W), written once and read in order, any number of times.

    Names stay in memory; pixels lie in the file.
    """

    def __init__(self, path: Path, size_px: tuple[int, int]) -> None:
        """Create the file; raises FileExistsError rather than overwrite one."""
        super().__init__(path)
        self._shape = (*size_px, 3)
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> list[str]:
        """The images' names, in order."""
        return list(self._names)

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


class EmbeddingFile(ScratchFile):
    """Grows by one image at a time; afterwards all patches are one int16 array (N, D) with one scale.

    The scale is that of the largest value of all images (see `numerics.quantise`). It begins as the first image's;
    where a later image needs a larger one, the scale doubles and what is on file is halved, rounding half to even. So
    the same images in the same order give the same file.
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
        self.raise_scale(needed)
        self._file.write(quantise(values, self.scale).tobytes())
        self._count += len(values)

    def append_stored(self, patches: Rows, scale: float) -> None:
        """Add patches, int16 (n, D), as another file stores them at a scale: that of all that is on file here."""
        self._scale = scale
        self._file.write(np.ascontiguousarray(patches).data)
        self._count += len(patches)

    def raise_scale(self, scale: float) -> None:
        """Bring what is on file to a scale, a power of two no smaller than the file's, as a larger image does."""
        while self.scale < scale:
            self._halve()
            self._scale = 2 * self.scale

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
        for start in range(0, len(stored), HALVED_VALUES):
            part = stored[start : start + HALVED_VALUES]
            part[:] = np.rint(part.astype(np.float32) / 2).astype(np.int16)
        stored.flush()


class KeptPatches:
    """Patch embeddings of named frames on a file without a name: the system frees it with the last array on it.

    Args:
        folder: on whose disk the file lies; the system's folder for temporary files where it is None.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`, while the arrays on it live on
        self._shapes: list[tuple[str, tuple[int, ...]]] = []

    def keep(self, name: str, patches: Rows) -> None:
        """Put by a frame's patch embeddings, int16 (P, D)."""
        self._shapes.append((name, patches.shape))
        self._file.write(np.ascontiguousarray(patches).data)

    def frames(self) -> tuple[tuple[str, Rows], ...]:
        """All frames with their embeddings, int16 (P, D), memory-mapped and read-only; valid after `close` too."""
        if not self._shapes:
            return ()
        self._file.flush()
        values = np.memmap(self._file, dtype=np.int16, mode="r")  # one map for all: each would hold an open file
        ends = np.cumsum([np.prod(shape) for _, shape in self._shapes])[:-1]
        parts = np.split(values, ends)
        return tuple((name, part.reshape(shape)) for (name, shape), part in zip(self._shapes, parts, strict=True))

    def close(self) -> None:
        """Close the file; arrays of `frames` stay valid."""
        self._file.close()
