"""When to read the next frame: so that it waits no longer for the engine than it must.

Frames that wait in the worker grow old there, and what is read early cannot be overtaken by what is urgent. An engine
that needs long for a batch gets the next one shortly before it is free, however many frames may be in flight.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf, isfinite
from time import monotonic

_WEIGHT = 0.2
"""The weight of the newest batch in the moving average of the time for a frame."""


class Pace:
    """Counts the frames before the engine and learns what one takes.

    Args:
        longest_s: a frame is read only when it is expected to wait at most so long. None: at once.
        batch_size: frames in a full batch.
    """

    def __init__(self, longest_s: float | None, *, batch_size: int) -> None:
        self._longest_s = longest_s
        self._batch_size = batch_size
        self._undecided = 0
        """Frames that were read and are not judged."""
        self._inspected = 0
        """Frames that the engine has been given, of those."""
        self._frame_s = 0.0
        self._free_at_s = 0.0
        self._answered_at_s = 0.0
        self._changed = asyncio.Event()

    def read(self) -> None:
        """A frame was read."""
        self._undecided += 1

    def judged(self) -> None:
        """A frame has its outcome, whatever it is."""
        self._undecided -= 1
        self._changed.set()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A frame that was read waits for something else than the engine."""
        self._undecided -= 1
        self._changed.set()
        try:
            yield
        finally:
            self._undecided += 1

    @property
    def begins_batch(self) -> bool:
        """Whether the frame that is read next will be the first of its batch, as far as batches are full."""
        return (self._undecided - self._inspected) % self._batch_size == 0

    @contextmanager
    def inspecting(self, frames: int) -> Iterator[None]:
        """The engine works on a batch of so many frames, after those that it was given before."""
        began = monotonic()
        self._inspected += frames
        self._free_at_s = max(began, self._free_at_s) + frames * self._frame_s
        try:
            yield
        finally:
            now = monotonic()
            took_s = (now - max(began, self._answered_at_s)) / frames
            self._frame_s += (took_s - self._frame_s) * (_WEIGHT if self._frame_s else 1.0)
            self._answered_at_s = now
            self._inspected -= frames
            self._free_at_s = now + self._inspected * self._frame_s
            self._changed.set()

    async def wait(self) -> None:
        """Wait until the next frame should be read."""
        while self._longest_s is not None and (early_s := self._expected_wait_s() - self._longest_s) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(early_s if isfinite(early_s) else None):
                    await self._changed.wait()

    def _expected_wait_s(self) -> float:
        """How long a frame that is read now will wait until the engine begins with its batch, seconds.

        Until a batch has shown what a frame takes, no second one is read: it might wait for anything.
        """
        if not self._frame_s and self._undecided >= self._batch_size:
            return inf
        batches_before = (self._undecided - self._inspected) // self._batch_size
        return max(0.0, self._free_at_s - monotonic()) + batches_before * self._batch_size * self._frame_s
