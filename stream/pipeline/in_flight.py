"""How much may be in flight: frames and bytes. Sources are read only while there is room."""

import asyncio

from patchline.stream.model.frame import Frame


class InFlightBudget:
    """Counts frames in flight and their bytes.

    A source waits for room before it reads, not after: a live camera's frame is then as fresh as it can be. Every
    source that finds room takes one frame, so the bounds may be passed by one frame a source.

    Args:
        frames: sources are not read while so many are in flight.
        size_bytes: nor while these have so many bytes: encoded images, and pixels of live cameras.
    """

    def __init__(self, frames: int, size_bytes: int) -> None:
        self._max_frames = frames
        self._max_bytes = size_bytes
        self._bytes = 0
        self._free = asyncio.Event()
        self._free.set()
        self.frames = 0

    async def wait(self) -> None:
        """Wait until there is room."""
        await self._free.wait()

    def take(self, frame: Frame) -> None:
        """A frame is in flight."""
        self._change(1, _bytes_of(frame))

    def give(self, frame: Frame) -> None:
        """A frame that was taken is no longer in flight."""
        self._change(-1, -_bytes_of(frame))

    def _change(self, frames: int, size_bytes: int) -> None:
        self.frames += frames
        self._bytes += size_bytes
        if self.frames < self._max_frames and self._bytes < self._max_bytes:
            self._free.set()
        else:
            self._free.clear()


def _bytes_of(frame: Frame) -> int:
    image = frame.image.nbytes if frame.image is not None else 0
    return len(frame.payload or b"") + image
