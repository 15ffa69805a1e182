"""The path of a frame, step by step: what is opened, told, delivered and committed, and in which order."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.errors import (
    AbortedError,
    ConfigError,
    DropCause,
    LaneLostError,
    Reason,
    SinkError,
    SourceError,
)
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer, Stage
from patchline.stream.model.outcome import Outcome
from patchline.stream.pipeline import Pipeline
from patchline.stream.ports import Release
from patchline.stream.support.deadline import Deadline
from tests.stream.list_ports import ListSink, ListSource, endless, frames_of
from tests.stream.scripted import Recorder, ScriptedEngine, frame
from tests.stream.waiting import until


class Logged(ListSink):
    """A sink that writes down what it is asked in a log shared with others."""

    def __init__(self, name: str, log: list[str], *failures: Exception, opens: Exception | None = None) -> None:
        super().__init__(*failures)
        self.name, self.log, self.opens = name, log, opens

    async def open(self) -> None:
        self.log.append(f"open {self.name}")
        if self.opens is not None:
            raise self.opens

    async def deliver(self, outcomes: Sequence[Outcome]) -> None:
        await super().deliver(outcomes)
        self.log += [f"{self.name} has {outcome.result.frame_id}" for outcome in outcomes]

    async def close(self) -> None:
        self.log.append(f"close {self.name}")


class LoggedSource(ListSource):
    """A replayable source that writes down what it is asked."""

    def __init__(self, frames: Sequence[Frame], log: list[str], opens: Exception | None = None) -> None:
        super().__init__(frames)
        self.log, self.opens = log, opens
        self.lost = False

    async def open(self, release: Release) -> None:
        self.log.append("open source")
        if self.opens is not None:
            raise self.opens

    async def __aiter__(self) -> AsyncIterator[Frame]:
        for each in self.frames:
            self.log.append(f"read {each.frame_id}")
            yield each

    def begin_batch(self) -> None:
        self.log.append("begin")

    async def commit(self, position: Position) -> None:
        await super().commit(position)
        self.log.append(f"commit {position.offset}")

    async def try_alone(self, position: Position) -> None:
        if self.lost:
            raise LaneLostError("given to another")
        self.log.append(f"alone {position.offset}")

    async def close(self) -> None:
        self.log.append("close source")


class PlainSource:
    """A source that is opened and closed, and cannot be replayed."""

    def __init__(self, log: list[str], opens: Exception | None = None) -> None:
        self.log, self.opens = log, opens

    async def open(self) -> None:
        self.log.append("open plain")
        if self.opens is not None:
            raise self.opens

    async def __aiter__(self) -> AsyncIterator[Frame]:
        for each in list[Frame]():
            yield each

    async def close(self) -> None:
        self.log.append("close plain")


class Ready(Observer):
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def ready(self, ready: bool) -> None:
        self.log.append(f"ready {ready}")

    def result(self, result: Any) -> None:
        self.log.append(f"told {result.frame_id}")


def replayable(count: int, **crashes: int) -> list[Frame]:
    return [
        replace(frame(str(n), position=Position("frames", 0, n)), crashes=crashes.get(f"f{n}")) for n in range(count)
    ]


async def test_the_path_is_opened_from_its_end_and_closed_from_its_start() -> None:
    """Nothing is read before all that comes after is there; the ledger has each outcome before the sinks."""
    log: list[str] = []
    engine = ScriptedEngine()
    pipeline = Pipeline(
        sources=[LoggedSource(replayable(1), log), PlainSource(log)],
        engine=engine,
        sinks=[Logged("sink", log)],
        ledger=Logged("ledger", log),
        observer=Ready(log),
        limits=Limits(frame_references=("memory://a", "memory://b")),
    )
    await pipeline.run()
    opened = ["open ledger", "open sink", "open source", "open plain", "ready True"]
    path = ["begin", "read 0", "ledger has 0", "sink has 0", "commit 0", "told 0"]
    closed = ["ready False", "close plain", "close source", "close sink", "close ledger"]
    assert log == [*opened, *path, *closed]
    assert engine.warm
    assert pipeline._engine._scheduler._closed
    assert pipeline._decoder._threads._shutdown
    assert all(storage.threads._shutdown for storage in pipeline._references._storages)
    log.clear()
    await pipeline.drain(Deadline(5))
    pipeline.abort()
    assert log == ["ready False"]


async def test_what_fails_to_open_is_closed_with_all_that_was_opened_before_it() -> None:
    """A half-open connection is let go too, and the engine's thread ends."""
    for broken, closed in (
        ("sink", ["close sink"]),
        ("source", ["close source", "close sink"]),
        ("plain", ["close plain", "close source", "close sink"]),
    ):
        log: list[str] = []
        fail: dict[str, Exception] = {broken: SourceError("no")}
        pipeline = Pipeline(
            sources=[LoggedSource([], log, fail.get("source")), PlainSource(log, fail.get("plain"))],
            engine=ScriptedEngine(),
            sinks=[Logged("sink", log, opens=fail.get("sink"))],
        )
        with pytest.raises(SourceError, match="no"):
            await pipeline.run()
        assert [each for each in log if each.startswith("close")] == closed
        assert pipeline._engine._scheduler._closed


async def test_an_engine_that_fails_to_warm_up_is_closed() -> None:
    """Nothing else was opened."""

    class Cold(ScriptedEngine):
        def warm_up(self) -> None:
            raise RuntimeError("no device")

    log: list[str] = []
    pipeline = Pipeline(sources=[], engine=Cold(), sinks=[Logged("sink", log)])
    with pytest.raises(RuntimeError, match="no device"):
        await pipeline.run()
    assert log == []
    assert pipeline._engine._scheduler._closed


async def test_what_the_ledger_refuses_no_sink_has() -> None:
    """It stops the stream before anything is delivered or committed."""
    log: list[str] = []
    source = LoggedSource(replayable(2), log)
    pipeline = Pipeline(
        sources=[source],
        engine=ScriptedEngine(),
        sinks=[Logged("sink", log)],
        ledger=Logged("ledger", log, SinkError("refused")),
    )
    with pytest.raises(SinkError, match="refused"):
        await pipeline.run()
    assert not [each for each in log if "has" in each or "commit" in each]


def test_what_is_no_source_or_sink_is_refused_at_once() -> None:
    """Not when its method is first missed."""

    class Half:
        name = "half"

        async def open(self) -> None: ...

    for given in ({"sinks": [Half()]}, {"sinks": [], "ledger": Half()}, {"sinks": [], "sources": [Half()]}):
        with pytest.raises(ConfigError):
            Pipeline(**{"sources": [], "engine": ScriptedEngine(), **given})  # type: ignore[arg-type] # they are none


async def test_every_stage_is_timed_and_what_waits_is_told() -> None:
    """Durations are those of the stage, and at the end nothing is in flight."""
    seconds: dict[Stage, list[float]] = {}
    depths: list[tuple[str, int]] = []

    class Times(Recorder):
        def stage_seconds(self, stage: Stage, camera: str, seconds_: float) -> None:
            assert (camera == "") == (stage == "inspect")
            seconds.setdefault(stage, []).append(seconds_)

        def queue_depth(self, queue: str, depth: int) -> None:
            depths.append((queue, depth))

    seen = Times()
    engine = ScriptedEngine(seconds=0.02)
    given = [frame(str(n), camera="cam-1") for n in range(6)]
    await Pipeline(sources=[frames_of(*given)], engine=engine, sinks=[ListSink()], observer=seen).run()
    assert {stage: len(found) for stage, found in seconds.items()} == {
        "decode": 6,
        "queue": 6,
        "inspect": len(engine.batches),
        "sinks": 6,
        "end_to_end": 6,
    }
    assert all(0 <= each < 10 for found in seconds.values() for each in found)
    assert min(seconds["inspect"]) >= 0.02
    assert min(seconds["end_to_end"]) >= 0.02
    assert sum(seen.batches) == 6
    assert next(depth for queue, depth in depths if queue == "in_flight") == 1
    assert [depth for queue, depth in depths if queue == "in_flight"][-1] == 0
    assert len([depth for queue, depth in depths if queue == "in_flight"]) == 12
    assert len([depth for queue, depth in depths if queue == "batcher"]) == len(seen.batches)


async def test_a_source_is_told_where_batches_begin() -> None:
    """Before the first frame of each, so that it may choose what is most urgent; not before the others."""
    log: list[str] = []
    source = LoggedSource(replayable(4), log)
    await Pipeline(
        sources=[source, frames_of()],
        engine=ScriptedEngine(),
        sinks=[],
        limits=Limits(batch_size=2, linger_s=30, commit_interval_s=0),
    ).run()
    read = [each for each in log if each == "begin" or each.startswith("read")]
    assert read[:6] == ["begin", "read 0", "read 1", "begin", "read 2", "read 3"]
    assert source.committed == {0: 3}


async def test_a_suspect_is_alone_from_when_it_is_noted_until_it_is_committed() -> None:
    """A second crash is then known to be its own: nothing before it is open, and nothing after it is begun."""
    log: list[str] = []

    class Noting(ScriptedEngine):
        def inspect(self, frames: Any, **more: Any) -> Any:
            log.append(f"inspect {len(frames)}")
            return super().inspect(frames, **more)

    class Late(LoggedSource):
        async def __aiter__(self) -> AsyncIterator[Frame]:
            async for each in super().__aiter__():
                if each.frame_id == "4":
                    await until(lambda: "alone 3" in log)
                yield each

    class Slow(ListSink):
        async def deliver(self, outcomes: Any) -> None:
            await asyncio.sleep(0.1)  # for what comes meanwhile, were it let in
            await super().deliver(outcomes)

    source = Late(replayable(7, f3=1), log)
    sink = Slow()
    await Pipeline(sources=[source], engine=Noting(), sinks=[sink], limits=Limits(batch_size=4)).run()
    assert sink.ids == [str(n) for n in range(7)]
    at = log.index("alone 3")
    assert "commit 2" in log[:at]
    done = log.index("commit 3")
    assert [each for each in log[at:done] if "read" not in each and each != "begin"] == ["alone 3", "inspect 1"]
    assert len([each for each in log if each.startswith("alone")]) == 1
    assert source.committed == {0: 6}


async def test_a_frame_that_two_crashes_speak_against_never_reaches_the_engine() -> None:
    """Where nothing can try it elsewhere it is poison; one crash is not enough."""
    sink, engine, log = ListSink(), ScriptedEngine(), list[str]()
    await Pipeline(sources=[LoggedSource(replayable(3, f0=1, f1=2, f2=3), log)], engine=engine, sinks=[sink]).run()
    assert [outcome.result.reason for outcome in sink.outcomes] == [None, Reason.POISON, Reason.POISON]
    assert sum(engine.batches) == 1
    assert [each for each in log if each.startswith("alone")] == ["alone 0"]


async def test_a_suspect_whose_partition_was_lost_goes_nowhere() -> None:
    """Its new owner tries it; what is behind it in the lane is left to that one as well."""
    sink, engine = ListSink(), ScriptedEngine()
    source = LoggedSource(replayable(3, f1=1), [])
    source.lost = True
    await Pipeline(sources=[source], engine=engine, sinks=[sink]).run()
    assert sink.ids == ["0"]
    assert source.committed == {0: 0}


async def test_frames_that_can_be_replayed_are_not_lost_by_an_abort() -> None:
    """Only those of live cameras are counted; the first reason is the one that is told."""
    gate, seen = threading.Event(), Recorder()
    pipeline = Pipeline(
        sources=[LoggedSource(replayable(4), []), frames_of(*[frame(str(n), camera="live") for n in range(3)])],
        engine=ScriptedEngine(gate=gate),
        sinks=[],
        observer=seen,
    )
    pipeline.abort("before it runs")
    running = asyncio.create_task(pipeline.run())
    await until(lambda: sum(seen.received.values()) == 7)
    pipeline.abort("first")
    pipeline.abort("second")
    with pytest.raises(AbortedError, match="first"):
        await running
    gate.set()
    assert seen.dropped == {("live", DropCause.ABORTED): 3}


async def test_draining_ends_a_source_that_is_silent_and_what_runs_beside() -> None:
    """Its generator is closed, the side task is cancelled, and a cancelled `run` is not taken for a drain."""
    ended: list[str] = []

    async def silent() -> AsyncIterator[Frame]:
        try:
            await asyncio.Event().wait()
            yield frame("never")
        finally:
            ended.append("source")

    class Beside:
        async def run(self, thread: EngineThread) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("side task")

    def made(seen: Recorder) -> Pipeline:
        return Pipeline(sources=[silent()], engine=ScriptedEngine(), sinks=[], observer=seen, side_tasks=[Beside()])

    seen = Recorder()
    pipeline = made(seen)
    running = asyncio.create_task(pipeline.run())
    await until(lambda: seen.ready_states == [True])
    async with asyncio.timeout(10):
        await pipeline.drain()
        await running
    assert ended == ["source", "side task"]
    assert seen.ready_states == [True, False, False]
    seen = Recorder()
    pipeline = made(seen)
    running = asyncio.create_task(pipeline.run())
    await until(lambda: seen.ready_states == [True])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_generator_is_closed_when_the_stream_drains_between_its_frames() -> None:
    """What it holds open is let go before `run` returns."""
    closed: list[bool] = []

    async def camera() -> AsyncIterator[Frame]:
        try:
            async for each in endless():
                yield each
        finally:
            closed.append(True)

    gate, seen = threading.Event(), Recorder()
    pipeline = Pipeline(
        sources=[camera()],
        engine=ScriptedEngine(gate=gate),
        sinks=[],
        observer=seen,
        limits=Limits(max_in_flight=2, batch_size=2),
    )
    running = asyncio.create_task(pipeline.run())
    await until(lambda: seen.received == {"cam-1": 2})
    draining = asyncio.create_task(pipeline.drain())
    await asyncio.sleep(0.01)
    gate.set()
    await draining
    assert closed == [True]
    await running
