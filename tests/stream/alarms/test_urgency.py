import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median

from patchline.engine.types import Image, Verdict
from patchline.stream.alarms.urgency import AlarmConditions
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.result import Result
from patchline.stream.pipeline import Pipeline
from patchline.stream.support.deadline import Deadline
from tests.stream.list_ports import ListSink
from tests.stream.scripted import ScriptedEngine, frame, picture
from tests.stream.waiting import until


def test_the_condition_follows_the_alarm_rule_of_each_camera() -> None:
    """Two rejects among three make a camera urgent, two passes in a row end it, and other cameras are not touched."""
    conditions = AlarmConditions(AlarmConfig(k=2, n=3, m=2))
    now, told = datetime.now(UTC), []
    for number, letter in enumerate("RPRPPPRRNP"):
        verdict = {"R": Verdict.REJECT, "P": Verdict.PASS, "N": Verdict.NOT_INSPECTED}[letter]
        conditions.result(
            Result(
                frame_id=str(number),
                camera="cam-1",
                recipe="plate",
                time=now,
                inspected_at=now,
                verdict=verdict,
                latency_ms=1.0,
            )
        )
        told.append("+" if conditions.present("cam-1") else "-")
    assert "".join(told) == "--++---+++"
    assert not conditions.present("cam-2")


async def _camera(name: str, level: int) -> AsyncIterator[Frame]:
    number = 0
    while True:
        await asyncio.sleep(0)  # one that never waits would take all places in flight before others begin
        yield frame(f"{name}/{number}", image=picture(level), camera=name)
        number += 1


async def test_when_the_engine_is_short_cameras_with_an_alarm_go_first_and_none_starves() -> None:
    """Six cameras send as fast as they may: the one with rejects waits least, and none is long without a result."""
    conditions = AlarmConditions(AlarmConfig(k=2, n=3, m=2))
    sink = ListSink()
    pipeline = Pipeline(
        sources=[_camera(f"cam-{n}", 200 if n == 3 else 50) for n in range(6)],
        engine=ScriptedEngine(seconds=0.04),
        sinks=[sink],
        limits=Limits(batch_size=4, linger_s=0, max_in_flight=36),
        listeners=[conditions],
        urgent=conditions.present,
    )
    running = asyncio.create_task(pipeline.run())
    await until(lambda: len(sink.ids) >= 360)
    await pipeline.drain(Deadline(20))
    await running
    settled = [outcome.result for outcome in sink.outcomes][60:360]
    waited_ms = {c: median(r.latency_ms for r in settled if r.camera == c) for c in {r.camera for r in settled}}
    assert len(waited_ms) == 6
    urgent_ms = waited_ms.pop("cam-3")
    assert urgent_ms < 0.8 * min(waited_ms.values()), (urgent_ms, waited_ms)
    for camera in range(6):
        places = [place for place, result in enumerate(settled) if result.camera == f"cam-{camera}"]
        assert max(after - before for before, after in pairwise([0, *places, len(settled)])) < 60
    for camera in range(6):
        numbers = [int(i.rpartition("/")[2]) for i in sink.ids if i.startswith(f"cam-{camera}/")]
        assert numbers == sorted(numbers)


async def test_no_batch_waits_for_a_slow_camera() -> None:
    """While one camera's frame is held in the decoder, and another camera sends nothing, the others are judged."""
    held, sink = threading.Event(), ListSink()

    class Slow(ScriptedEngine):
        def prepare(self, recipe: str, image: Image) -> Image:
            if image.mean() > 150:
                assert held.wait(60)
            return super().prepare(recipe, image)

    async def silent() -> AsyncIterator[Frame]:
        await asyncio.Event().wait()
        yield frame("never")

    async def others() -> AsyncIterator[Frame]:
        for number in range(40):
            yield frame(f"o/{number}", camera=f"cam-{number % 4}")

    async def slow() -> AsyncIterator[Frame]:
        yield frame("slow", image=picture(200), camera="slow")

    pipeline = Pipeline(
        sources=[slow(), silent(), others()], engine=Slow(), sinks=[sink], limits=Limits(batch_size=4, linger_s=0.01)
    )
    running = asyncio.create_task(pipeline.run())
    await until(lambda: len(sink.ids) == 40)
    assert "slow" not in sink.ids
    held.set()
    await until(lambda: "slow" in sink.ids)
    await pipeline.drain(Deadline(20))
    await running


def test_cameras_that_were_not_seen_for_longest_are_forgotten() -> None:
    """Frames bring any number of cameras: 10,000 are remembered, and one that is seen again stays."""
    conditions = AlarmConditions(AlarmConfig(k=1, n=1, m=1))
    now = datetime.now(UTC)

    def reject(camera: str) -> None:
        conditions.result(
            Result(
                frame_id="f",
                camera=camera,
                recipe="plate",
                time=now,
                inspected_at=now,
                verdict=Verdict.REJECT,
                latency_ms=1.0,
            )
        )

    for number in range(10_000):
        reject(str(number))
    assert conditions.present("0")
    reject("0")
    reject("new")
    assert [conditions.present(camera) for camera in ("0", "1", "2", "9999", "new")] == [True, False, True, True, True]
