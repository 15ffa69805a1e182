"""When to read the next frame: so that it waits no longer for the engine than it must.

Frames that wait in the worker grow old there, and what is read early cannot be overtaken by what is urgent. An engine
that needs long for a batch gets the next one shortly before it is free, however many frames may be in flight. Pictures
of live cameras always wait outside: a fresher one replaces them there.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf, isfinite
from time import monotonic

_WEIGHT = 0.2
"""The weight of the newest batch in the moving average of the time for a frame."""
_LEAD = 0.25
"""How long before the engine is free live pictures are taken, in times of a full batch: they are decoded meanwhile."""


class Pace:
    """Counts the frames before the engine and learns what one takes.

    Args:
        longest_s: a frame is read only when it is expected to wait at most so long. None: at once.
        batch_size: frames in a full batch.
        slots: frames that the engine works on side by side.
    """

    def __init__(self, longest_s: float | None, *, batch_size: int, slots: int = 1) -> None:
        self._longest_s = longest_s
        self._batch_size = batch_size
        self._slots = slots
        self._undecided = 0
        """Frames that were read and are not judged."""
        self._inspected = 0
        """Frames that the engine has been given, of those."""
        self._live_undecided = 0
        self._live_inspected = 0
        """The same of live cameras alone."""
        self._frame_s = 0.0
        self._free_at_s = 0.0
        self._answered_at_s = 0.0
        self._changed = asyncio.Event()

    def read(self, *, live: bool = False) -> None:
        """A frame was read, of a live camera or of another source."""
        self._undecided += 1
        self._live_undecided += live

    def judged(self, *, live: bool = False) -> None:
        """A frame has its outcome, whatever it is."""
        self._undecided -= 1
        self._live_undecided -= live
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
    def inspecting(self, frames: int, live: int = 0) -> Iterator[None]:
        """The engine works on a batch of so many frames, `live` of them live, after those that it was given before."""
        began = monotonic()
        self._inspected += frames
        self._live_inspected += live
        self._free_at_s = max(began, self._free_at_s) + frames * self._frame_s
        try:
            yield
        finally:
            now = monotonic()
            took_s = (now - max(began, self._answered_at_s)) / frames
            self._frame_s += (took_s - self._frame_s) * (_WEIGHT if self._frame_s else 1.0)
            self._answered_at_s = now
            self._inspected -= frames
            self._live_inspected -= live
            self._free_at_s = now + self._inspected * self._frame_s
            self._changed.set()

    async def wait(self) -> None:
        """Wait until the next frame should be read."""
        while self._longest_s is not None and (early_s := self._expected_wait_s() - self._longest_s) > 0:
            await self._until_changed(early_s)

    async def wait_for_live(self, linger_s: float, share: Callable[[int], float]) -> None:
        """Wait until the next picture of a live camera should be taken: for a free place in the batch that begins next.

        Args:
            linger_s: how long a frame waits for others while the engine is idle.
            share: given how many live pictures have been taken and wait, the part of a batch that live ones may have
                while others would fill one.
        """
        while (early_s := self._live_early_s(linger_s, share)) > 0:
            await self._until_changed(early_s)

    async def _until_changed(self, longest_s: float) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s if isfinite(longest_s) else None):
                await self._changed.wait()

    def _live_early_s(self, linger_s: float, share: Callable[[int], float]) -> float:
        """How much too early it is to take a picture of a live camera, seconds."""
        ahead = self._live_undecided - self._live_inspected
        others_fill_batch = self._undecided - self._inspected - ahead >= self._batch_size
        places = max(1, round(self._batch_size * share(ahead))) if others_fill_batch else self._batch_size
        if ahead >= places:
            return inf
        if self._inspected + ahead < self._slots:
            return 0.0
        if not self._frame_s:
            return inf
        batch_s = self._batch_size * self._frame_s
        begins_s = self._free_at_s - monotonic()
        if others_fill_batch:
            begins_s -= batch_s  # others fill one that is handed over ahead: the next closes sooner
        return begins_s - max(linger_s, _LEAD * batch_s)

    def _expected_wait_s(self) -> float:
        """How long a frame that is read now will wait until the engine begins with its batch, seconds.

        Until a batch has shown what a frame takes, no second one is read: it might wait for anything.
        """
        if not self._frame_s and self._undecided >= self._batch_size:
            return inf
        batches_before = (self._undecided - self._inspected) // self._batch_size
        return max(0.0, self._free_at_s - monotonic()) + batches_before * self._batch_size * self._frame_s
