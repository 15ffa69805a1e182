"""How much may be in flight: frames and bytes. Sources are read only while there is room.

A lane whose frames wait for something else than the engine, storage that is away say, keeps what it has in flight for
as long as that lasts. It is read only while it has less in flight than there is room left for all. So however many
lanes wait, and whether they began to at once or one after another, none of them takes the last room: the others go on.
Switches share their buffers among ports by the same rule (dynamic thresholds, Choudhury and Hahne, 1998).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from patchline.stream.model.frame import Frame, LaneKey, lane_of


@dataclass(slots=True)
class _Share:
    """What a lane has in flight, and how many of its frames wait for something else than the engine."""

    frames: int = 0
    size_bytes: int = 0
    waiting: int = 0


class InFlightBudget:
    """Counts frames in flight and their bytes.

    A source waits for room before it reads, not after: a live camera's frame is then as fresh as it can be. Every
    source that finds room takes one frame, so the bounds may be passed by one frame a source.

    Args:
        frames: sources are not read while so many are in flight.
        size_bytes: nor while these have so many bytes: encoded images, and pixels of live cameras.
        on_hold: told which lanes are not to be read, whenever others are.
    """

    def __init__(
        self, frames: int, size_bytes: int, on_hold: Callable[[frozenset[LaneKey]], None] = lambda _: None
    ) -> None:
        self._max_frames = self._shared_frames = frames
        self._max_bytes = self._shared_bytes = size_bytes
        self._on_hold = on_hold
        self._bytes = 0
        self._free, self._free_for_live = asyncio.Event(), asyncio.Event()
        self._free.set()
        self._free_for_live.set()
        self._shares: dict[LaneKey, _Share] = {}
        self._waiting: dict[LaneKey, _Share] = {}
        """Those of which frames wait."""
        self.held: frozenset[LaneKey] = frozenset()
        """Lanes that are not to be read."""
        self.frames = 0

    def keep_for_live(self, frames: int) -> None:
        """Keep so many of the frames, and as large a part of the bytes, for live cameras: others do not take them."""
        self._shared_frames = max(1, self._max_frames - frames)
        self._shared_bytes = max(1, self._max_bytes * self._shared_frames // self._max_frames)
        self._tell()

    async def wait(self, *, live: bool = False) -> None:
        """Wait until there is room, for a picture of a live camera or for any other frame."""
        await (self._free_for_live if live else self._free).wait()

    def take(self, frame: Frame) -> None:
        """A frame is in flight."""
        self._change(frame, 1, _bytes_of(frame))

    def give(self, frame: Frame) -> None:
        """A frame that was taken is no longer in flight."""
        self._change(frame, -1, -_bytes_of(frame))

    @contextmanager
    def waiting(self, frame: Frame) -> Iterator[None]:
        """A frame in flight waits for something else than the engine."""
        lane = lane_of(frame)
        share = self._waiting[lane] = self._shares.setdefault(lane, _Share())
        share.waiting += 1
        self._hold()
        try:
            yield
        finally:
            share.waiting -= 1
            if not share.waiting:
                self._waiting.pop(lane, None)
            self._hold()

    def _change(self, frame: Frame, frames: int, size_bytes: int) -> None:
        lane = lane_of(frame)
        share = self._shares.setdefault(lane, _Share())
        share.frames += frames
        share.size_bytes += size_bytes
        if not share.frames and not share.waiting:
            del self._shares[lane]
        self.frames += frames
        self._bytes += size_bytes
        self._tell()

    def _tell(self) -> None:
        _set(self._free, self.frames < self._shared_frames and self._bytes < self._shared_bytes)
        _set(self._free_for_live, self.frames < self._max_frames and self._bytes < self._max_bytes)
        self._hold()

    def _hold(self) -> None:
        if not self._waiting and not self.held:
            return
        frames_left, bytes_left = self._shared_frames - self.frames, self._shared_bytes - self._bytes
        held = frozenset(
            lane
            for lane, share in self._waiting.items()
            if share.frames + 1 >= frames_left or share.size_bytes >= max(1, bytes_left)
        )
        if held != self.held:
            self.held = held
            self._on_hold(held)


def _set(event: asyncio.Event, holds: bool) -> None:
    if holds:
        event.set()
    else:
        event.clear()


def _bytes_of(frame: Frame) -> int:
    image = frame.image.nbytes if frame.image is not None else 0
    return len(frame.payload or b"") + image
