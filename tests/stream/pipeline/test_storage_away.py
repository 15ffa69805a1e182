"""Storage that is away holds up the partitions whose frames lie there, and no other."""

import asyncio
import hashlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from patchline.stream.model.frame import Frame, LaneKey, Position, lane_of
from patchline.stream.model.limits import Limits
from patchline.stream.pipeline import Pipeline
from tests.stream.list_ports import ListSink, ListSource
from tests.stream.scripted import Recorder, ScriptedEngine, frame, jpeg
from tests.stream.waiting import until

PICTURE = jpeg(50)
COUNT = 200


class Partitions(ListSource):
    """A replayable source of several partitions, which go by turns; one that is held is passed over."""

    def __init__(self, *partitions: list[Frame]) -> None:
        super().__init__([each for frames in partitions for each in frames])
        self.left = [deque(frames) for frames in partitions]
        self.held: Collection[LaneKey] = ()
        self.changed = asyncio.Event()
        self.done: dict[int, int] = {}

    def hold(self, lanes: Collection[LaneKey]) -> None:
        self.held = lanes
        self.changed.set()

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while any(self.left):
            self.changed.clear()
            given = False
            for frames in self.left:
                if frames and lane_of(frames[0]) not in self.held:
                    given = True
                    yield frames.popleft()
            if not given:
                await self.changed.wait()

    async def commit(self, position: Position) -> None:
        self.done[position.partition] = position.offset + 1


def partition(number: int, *, refers: bool) -> list[Frame]:
    return [
        replace(
            frame(f"{number}/{offset}", b"" if refers else PICTURE, position=Position("frames", number, offset)),
            camera=f"cam-{number}",
            reference=f"memory://p{number}/1.jpg" if refers else None,
            content_sha256=hashlib.sha256(PICTURE).hexdigest(),
        )
        for offset in range(COUNT)
    ]


@pytest.mark.parametrize("how", ["hangs", "fails"])
@pytest.mark.parametrize("max_wait_s", [None, 0.05])
async def test_a_partition_whose_storage_is_away_holds_up_itself(
    monkeypatch: pytest.MonkeyPatch, how: str, max_wait_s: float | None
) -> None:
    """Two go on to their end meanwhile, one of them by reference; it follows when its storage is back, in order."""
    for number in (0, 1):
        with fsspec.open(f"memory://p{number}/1.jpg", "wb") as file:
            file.write(PICTURE)
    info, back = MemoryFileSystem.info, threading.Event()

    def info_once_back(self: MemoryFileSystem, path: str, **more: Any) -> Any:
        if "p0" in path and how == "hangs":
            back.wait(60)
        elif "p0" in path and not back.is_set():
            raise OSError("away")
        return info(self, path, **more)

    monkeypatch.setattr(MemoryFileSystem, "info", info_once_back)
    monkeypatch.setattr("patchline.stream.decoding.reference.HANGS_S", 0.1)
    seen, sink = Recorder(), ListSink()
    source = Partitions(partition(0, refers=True), partition(1, refers=True), partition(2, refers=False))
    limits = Limits(
        frame_references=("memory://p0", "memory://p1"), max_in_flight=16, batch_size=4, max_wait_s=max_wait_s
    )
    pipeline = Pipeline(sources=[source], engine=ScriptedEngine(), sinks=[sink], limits=limits, observer=seen)
    running = asyncio.create_task(pipeline.run())
    await until(lambda: source.done.get(1) == source.done.get(2) == COUNT, seconds=60)
    assert source.done.get(0) is None
    assert source.held == {("frames", 0)}
    assert seen.held[-1] == 1
    assert seen.ready_states == [True]
    if how == "fails":
        assert seen.storage_up == {"memory://p0": False, "memory://p1": True}
    back.set()
    await asyncio.wait_for(running, 60)
    assert source.done == {0: COUNT, 1: COUNT, 2: COUNT}
    assert len(sink.ids) == len(set(sink.ids)) == 3 * COUNT
    first = [frame_id for frame_id in sink.ids if frame_id.startswith("0/")]
    assert first == [f"0/{offset}" for offset in range(COUNT)]
    assert seen.held[-1] == 0


async def test_a_partition_that_moves_to_another_worker_is_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its frames leave without results and without taking room, though their storage is still away."""

    def away(self: MemoryFileSystem, path: str, **_: Any) -> Any:
        raise OSError("away")

    monkeypatch.setattr(MemoryFileSystem, "info", away)
    seen, sink = Recorder(), ListSink()
    source = Partitions(partition(0, refers=True), partition(2, refers=False))
    limits = Limits(frame_references=("memory://p0",), max_in_flight=16, batch_size=4)
    pipeline = Pipeline(sources=[source], engine=ScriptedEngine(), sinks=[sink], limits=limits, observer=seen)
    running = asyncio.create_task(pipeline.run())
    await until(lambda: source.done.get(2) == COUNT)
    source.left[0].clear()
    assert await source.release([("frames", 0)], 0.1) == [("frames", 0)]
    source.changed.set()
    await asyncio.wait_for(running, 60)
    assert [frame_id for frame_id in sink.ids if frame_id.startswith("0/")] == []
    assert pipeline._budget.frames == 0
