"""How frames come in: each source is read while there is room, at the pace of the engine, one frame at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Hashable, Sequence, Set
from functools import partial

from patchline.stream.model.frame import Frame, LaneKey
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.pipeline.in_flight import InFlightBudget
from patchline.stream.pipeline.live_turns import LiveTurns
from patchline.stream.pipeline.pace import Pace
from patchline.stream.ports import LiveSource, Release, ReplayableSource, Source, check_source
from patchline.stream.support.retry import retry_until_done

URGENT_WEIGHT = 4.0
"""Places that an urgent camera gets for one of another, where the engine is short."""


class Intake:
    """Opens sources, reads them into the pipeline, and closes them.

    Args:
        sources: those that there are from the start.
        limits: sizes and the linger.
        budget: how much may be in flight.
        pace: when to read.
        observer: is told what is tried again.
        urgent: whether a camera's frames go first when the engine is short.
        on_frame: told of each frame as it is read, and of its source where that can be replayed.
        lanes_waiting: lanes that have frames waiting for the engine.

    Raises:
        ConfigError: a source lacks a method.
    """

    def __init__(
        self,
        sources: Sequence[AsyncIterable[Frame]],
        limits: Limits,
        budget: InFlightBudget,
        pace: Pace,
        *,
        observer: Observer,
        urgent: Callable[[str], bool],
        on_frame: Callable[[Frame, ReplayableSource | None], None],
        lanes_waiting: Callable[[], Set[Hashable]],
    ) -> None:
        for source in sources:
            check_source(source)
        self.sources = list(sources)
        self._linger_s = limits.linger_s
        self._kept_for_live = min(2 * limits.batch_size, limits.max_in_flight // 2)
        self._budget, self._pace, self._observer, self._on_frame = budget, pace, observer, on_frame
        self._lanes_waiting = lanes_waiting
        self._live: set[LaneKey] = set()
        """Lanes of cameras whose freshest picture waits outside; frames of one that has gone may be in flight."""
        self._opened: list[Source | ReplayableSource] = []
        self._reading: dict[int, asyncio.Task[None]] = {}
        self._turns = LiveTurns(
            self._room_for_live,
            granted=lambda: pace.read(live=True),
            unused=lambda: pace.judged(live=True),
            weight=lambda camera: URGENT_WEIGHT if urgent(camera) else 1.0,
        )
        self._note_live(sources)

    def is_live(self, frame: Frame) -> bool:
        """Whether a frame is a live camera's, of which the freshest alone waited."""
        return frame.position is None and (frame.camera, -1) in self._live

    async def open(self, release: Release) -> None:
        """Open all sources, however long that takes."""
        for source in self.sources:
            await self._open(source, release)

    def begin(self, frames: asyncio.TaskGroup) -> None:
        """Read all sources, as tasks of a group."""
        for source in self.sources:
            self._reading[id(source)] = frames.create_task(self._read(source))

    async def deal_turns(self) -> None:
        """Let live cameras take turns, until cancelled."""
        await self._turns.run()

    async def change(
        self,
        frames: asyncio.TaskGroup,
        gone: Sequence[AsyncIterable[Frame]],
        new: Sequence[AsyncIterable[Frame]],
        release: Release,
    ) -> None:
        """Close some sources, then open and read others; those that stay go on meanwhile.

        Raises:
            ConfigError: a new source lacks a method; nothing has changed.
        """
        for source in new:
            check_source(source)
        for source in gone:
            self.sources.remove(source)
            reading = self._reading.pop(id(source))
            reading.cancel()
            await asyncio.wait({reading})
            if isinstance(source, Source | ReplayableSource):
                self._opened.remove(source)
                await source.close()
        self._note_live(new)
        for source in new:
            await self._open(source, release)
            self.sources.append(source)
            self._reading[id(source)] = frames.create_task(self._read(source))

    def stop(self) -> None:
        """Read no more."""
        for reading in self._reading.values():
            reading.cancel()

    async def close(self) -> None:
        """Close what is open, the last first, whatever one of them raises."""
        while self._opened:
            source = self._opened.pop()
            try:
                await source.close()
            except BaseException:
                await self.close()
                raise

    def _note_live(self, sources: Sequence[AsyncIterable[Frame]]) -> None:
        self._live |= {
            (source.live_camera, -1)
            for source in sources
            if isinstance(source, LiveSource) and source.live_camera is not None
        }
        self._budget.keep_for_live(self._kept_for_live if self._live else 0)

    async def _open(self, source: AsyncIterable[Frame], release: Release) -> None:
        if isinstance(source, ReplayableSource):
            self._opened.append(source)
            await retry_until_done("source", partial(source.open, release), self._observer)
        elif isinstance(source, Source):
            self._opened.append(source)
            await retry_until_done("source", source.open, self._observer)

    async def _read(self, source: AsyncIterable[Frame]) -> None:
        stream = aiter(source)
        try:
            if isinstance(source, LiveSource) and source.live_camera is not None:
                await self._read_live(source, source.live_camera, stream)
                return
            owner = source if isinstance(source, ReplayableSource) else None
            while True:
                await self._budget.wait()
                await self._pace.wait()
                if owner is not None and self._pace.begins_batch:
                    owner.begin_batch()
                frame = await anext(stream, None)
                if frame is None:
                    return
                self._budget.take(frame)
                self._pace.read()
                self._on_frame(frame, owner)
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def _read_live(self, source: LiveSource, camera: str, stream: AsyncIterator[Frame]) -> None:
        while await source.until_waiting():
            await self._turns.wait(camera)
            frame = None
            try:
                frame = await anext(stream, None)
            finally:
                if frame is None:
                    self._pace.judged(live=True)
            if frame is None:
                return
            self._budget.take(frame)
            self._on_frame(frame, None)

    async def _room_for_live(self) -> None:
        await self._budget.wait(live=True)
        await self._pace.wait_for_live(self._linger_s, self._live_share)

    def _live_share(self, ahead: int) -> float:
        """Each camera that waits has as much of a batch as each other lane has."""
        cameras = self._turns.waiting + ahead
        return cameras / max(1, cameras + len(self._lanes_waiting() - self._live))
