"""Sources and sinks that are lists in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.outcome import Outcome
from patchline.stream.ports import Release
from tests.stream.scripted import frame


class ListSink:
    """Keeps what it is given; `failures` are raised first, one a delivery."""

    name = "list"

    def __init__(self, *failures: Exception) -> None:
        self.outcomes: list[Outcome] = []
        self.failures = list(failures)
        self.log: list[str] = []

    async def open(self) -> None:
        self.log.append("open")

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.outcomes.extend(outcomes)

    async def close(self) -> None:
        self.log.append("close")

    @property
    def ids(self) -> list[str]:
        return [outcome.result.frame_id for outcome in self.outcomes]


class ListSource:
    """A replayable source over a list; it remembers what was committed."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames
        self.committed: dict[int, int] = {}
        self.sink: ListSink | None = None
        self.early: list[str] = []
        self.alone: list[int] = []

    async def open(self, release: Release) -> None:
        self.release = release

    async def __aiter__(self) -> AsyncIterator[Frame]:
        for each in self.frames:
            yield each

    async def commit(self, position: Position) -> None:
        if self.sink is not None:
            due = [
                f.frame_id for f in self.frames if f.position is not None and f.position.partition == position.partition
            ]
            due = due[: position.offset + 1]
            self.early += [frame_id for frame_id in due if frame_id not in self.sink.ids]
        assert self.committed.get(position.partition, -1) < position.offset
        self.committed[position.partition] = position.offset

    def begin_batch(self) -> None:
        pass

    async def try_alone(self, position: Position) -> None:
        self.alone.append(position.offset)

    async def close(self) -> None:
        pass


async def frames_of(*frames: Frame) -> AsyncIterator[Frame]:
    for each in frames:
        yield each
        await asyncio.sleep(0)


async def endless(camera: str = "cam-1") -> AsyncIterator[Frame]:
    number = 0
    while True:
        yield frame(f"{camera}/{number}", camera=camera)
        number += 1
        await asyncio.sleep(0.001)
