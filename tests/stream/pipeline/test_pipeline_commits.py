"""When results are committed: those that come soon after one another together, but not too many."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from patchline.engine.types import Image, Inspection
from patchline.stream.model.frame import Position
from patchline.stream.model.limits import Limits
from patchline.stream.pipeline import Pipeline
from tests.stream.list_ports import ListSink, ListSource
from tests.stream.scripted import ScriptedEngine, frame
from tests.stream.waiting import until


class Holding(ScriptedEngine):
    """Judges the first batch, and each of the next two once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event(), threading.Event()

    def inspect(self, frames: Sequence[tuple[str, Image]], **more: Any) -> list[Inspection]:
        for may in self.may[: len(self.batches)]:
            assert may.wait(60)
        return super().inspect(frames, **more)


async def test_a_quarter_of_what_may_be_in_flight_is_committed_at_once() -> None:
    """However long the interval, and while others of the partition are open: after a crash these are not judged again.

    The first results are committed when they come; of those after them two are a quarter of eight.
    """
    source, engine = ListSource([frame(str(n), position=Position("frames", 0, n)) for n in range(12)]), Holding()
    pipeline = Pipeline(
        sources=[source],
        engine=engine,
        sinks=[ListSink()],
        limits=Limits(batch_size=2, max_in_flight=8, linger_s=60, commit_interval_s=3600, decode_threads=1),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.run())
        try:
            await until(lambda: source.committed == {0: 1}, seconds=20)
            engine.may[0].set()
            await until(lambda: source.committed == {0: 3}, seconds=20)
        finally:
            for may in engine.may:
                may.set()
    assert source.committed == {0: 11}
