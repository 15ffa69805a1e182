import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from patchline.engine.types import Image, Inspection
from patchline.stream.cameras.config import FolderConfig
from patchline.stream.cameras.folder import FolderSource
from patchline.stream.model.errors import (
    AbortedError,
    DropCause,
    EngineFailedError,
    SinkError,
    SinkUnavailableError,
    SourceError,
)
from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.limits import Limits, RecipeConfig
from patchline.stream.model.result import Result
from patchline.stream.pipeline import Pipeline
from patchline.stream.ports import Listener
from patchline.stream.recording.jsonl import JsonLinesSink
from patchline.stream.support.deadline import Deadline
from tests.stream.list_ports import ListSink, ListSource, endless, frames_of
from tests.stream.scripted import GENERATION_SHA256, Recorder, ScriptedEngine, frame, jpeg, picture
from tests.stream.waiting import until


async def test_a_folder_becomes_json_lines(tmp_path: Path) -> None:
    """Every image of a folder gives one line, in order, with its verdict; unreadable ones say why."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02}.jpg").write_bytes(jpeg(50 if number % 3 else 180))
    (folder / "12.jpg").write_bytes(jpeg(50)[:-100])
    (folder / "13.png").write_bytes(b"no image at all")
    (folder / "notes.txt").write_text("not a frame")
    target = tmp_path / "results.jsonl"
    engine, seen = ScriptedEngine(), Recorder()
    await Pipeline(
        sources=[FolderSource(FolderConfig(path=folder, camera="cam-1", recipe="plate"))],
        engine=engine,
        sinks=[JsonLinesSink(target)],
        limits=Limits(batch_size=4),
        observer=seen,
    ).run()
    results = [json.loads(line) for line in target.read_text().splitlines()]
    assert [r["frame_id"] for r in results] == [f"{n:02}.jpg" for n in range(13)] + ["13.png"]
    verdicts = [r["verdict"] for r in results]
    assert verdicts == [("pass" if n % 3 else "reject") for n in range(12)] + ["not_inspected"] * 2
    assert [r.get("reason") for r in results[11:]] == [None, "truncated", "not_an_image"]
    assert results[0]["generation"] == {"number": 1, "sha256": GENERATION_SHA256}
    assert results[0]["worst"] == {"top_px": 16, "left_px": 32, "height_px": 16, "width_px": 16}
    assert engine.warm
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads
    assert seen.received == {"cam-1": 14}
    assert seen.results == seen.judged_ids == [r["frame_id"] for r in results]
    assert seen.stages["end_to_end"] == seen.stages["sinks"] == 14
    assert seen.stages["queue"] == seen.stages["decode"] == 12
    assert seen.ready_states[0] is True
    assert seen.ready_states[-1] is False


async def test_cameras_and_recipes_share_batches() -> None:
    """Frames of different cameras and recipes ride in one batch and keep their own results."""
    sink, seen = ListSink(), Recorder()
    engine = ScriptedEngine(("plate", "cap"))
    sources = [
        frames_of(*(frame(f"{c}/{n}", jpeg(40 * c + n), camera=f"cam-{c}", recipe=r) for n in range(6)))
        for c, r in ((1, "plate"), (2, "cap"), (3, "plate"))
    ]
    await Pipeline(
        sources=sources, engine=engine, sinks=[sink], limits=Limits(batch_size=6, linger_s=0.2), observer=seen
    ).run()
    assert sorted(sink.ids) == sorted(f"{c}/{n}" for c in (1, 2, 3) for n in range(6))
    assert engine.batches == [6, 6, 6]
    for outcome in sink.outcomes:
        camera, number = map(int, outcome.result.frame_id.split("/"))
        assert outcome.result.recipe == ("cap" if camera == 2 else "plate")
        assert outcome.result.score == pytest.approx(40 * camera + number, abs=3)
    for camera in (1, 2, 3):
        assert [i for i in sink.ids if i.startswith(f"{camera}/")] == [f"{camera}/{n}" for n in range(6)]


async def test_unknown_recipe_bad_hash_and_flaws_are_results() -> None:
    """What is wrong with one frame is its own result, and the frames after it are judged."""
    sink = ListSink()
    await Pipeline(
        sources=[
            frames_of(
                frame("a", recipe="nut"),
                frame("b", flaw="the header ce_source is missing"),
                frame("c", content_type="application/json"),
                frame("d", hashed=True),
                frame("e", image=picture(30)),
                frame("f", b""),
            )
        ],
        engine=ScriptedEngine(),
        sinks=[sink],
    ).run()
    assert [(o.result.frame_id, o.result.reason) for o in sink.outcomes] == [
        ("a", "unknown_recipe"),
        ("b", "malformed_record"),
        ("c", "not_an_image"),
        ("d", None),
        ("e", None),
        ("f", "empty"),
    ]
    flipped = bytearray(jpeg(50))
    good = frame("x", bytes(flipped), hashed=True)
    flipped[len(flipped) // 2] ^= 1
    sink = ListSink()
    changed = frame("x", bytes(flipped))
    source = frames_of(frame("x", changed.payload, hashed=False), good)
    await Pipeline(sources=[source], engine=ScriptedEngine(), sinks=[sink]).run()
    assert len(sink.outcomes) == 2


async def test_late_frames_are_marked() -> None:
    """A frame judged after its recipe's deadline has a result that says so."""
    sink = ListSink()
    await Pipeline(
        sources=[frames_of(frame("a"), frame("b", recipe="cap"))],
        engine=ScriptedEngine(("plate", "cap"), seconds=0.05),
        sinks=[sink],
        recipes={
            "plate": RecipeConfig(name="plate", deadline_s=0.01),
            "cap": RecipeConfig(name="cap", deadline_s=60),
        },
    ).run()
    assert [o.result.late for o in sorted(sink.outcomes, key=lambda o: o.result.frame_id)] == [True, False]


async def test_nothing_is_committed_before_every_sink_has_it() -> None:
    """A position is committed only when all results up to it are delivered, whatever the sinks do first."""
    away = SinkUnavailableError("the broker is away")
    sink, slow, seen = ListSink(away, away, away), ListSink(), Recorder()
    frames = [frame(f"{n % 3}:{n // 3}", position=Position("frames", n % 3, n // 3)) for n in range(60)]
    source = ListSource(frames)
    source.sink = sink
    await Pipeline(
        sources=[source], engine=ScriptedEngine(), sinks=[slow, sink], limits=Limits(batch_size=5), observer=seen
    ).run()
    assert source.early == []
    assert source.committed == {0: 19, 1: 19, 2: 19}
    assert len(seen.retries) == 3
    for partition in range(3):
        assert [i for i in sink.ids if i.startswith(f"{partition}:")] == [f"{partition}:{n}" for n in range(20)]


async def test_a_sink_that_refuses_for_good_stops_the_stream() -> None:
    """A fatal sink error is what `run` raises, and nothing is committed."""
    source = ListSource([frame(str(n), position=Position("frames", 0, n)) for n in range(5)])
    sink = ListSink(SinkError("the results topic does not exist"))
    with pytest.raises(SinkError, match="does not exist"):
        await Pipeline(sources=[source], engine=ScriptedEngine(), sinks=[sink]).run()
    assert source.committed == {}
    assert sink.log == ["open", "close"]


async def test_an_engine_that_fails_stops_the_stream() -> None:
    """The engine's failure reaches `run`, named, with everything closed; of the frames behind it none is delivered."""
    sink = ListSink()
    with pytest.raises(EngineFailedError, match=r"batch of 2 \(recipes: plate\): RuntimeError: scripted"):
        await Pipeline(
            sources=[frames_of(*(frame(str(n)) for n in range(6)))],
            engine=ScriptedEngine(fail_on=2, fails_when=lambda: len(sink.outcomes) == 2),
            sinks=[sink],
            limits=Limits(batch_size=2, linger_s=60, decode_threads=1),
        ).run()
    assert sink.ids == ["0", "1"]
    assert sink.log == ["open", "close"]


async def test_a_source_that_cannot_be_read_stops_the_stream(tmp_path: Path) -> None:
    """A folder that does not exist is an error that names it."""
    source = FolderSource(FolderConfig(path=tmp_path / "missing", camera="c", recipe="plate"))
    with pytest.raises(SourceError, match="missing is not a folder"):
        await Pipeline(sources=[source], engine=ScriptedEngine(), sinks=[]).run()


async def test_drain_finishes_what_is_in_flight() -> None:
    """After drain every frame taken has its result, and run returns."""
    sink, seen = ListSink(), Recorder()
    pipeline = Pipeline(
        sources=[endless("a"), endless("b")], engine=ScriptedEngine(seconds=0.01), sinks=[sink], observer=seen
    )
    running = asyncio.create_task(pipeline.run())
    while len(sink.outcomes) < 20:
        await asyncio.sleep(0.005)
    await pipeline.drain(Deadline(30))
    await running
    assert len(sink.outcomes) == sum(seen.received.values()) == len(seen.results)
    assert seen.dropped == {}
    assert sink.log == ["open", "close"]


async def test_drain_before_start_and_while_opening_ends_cleanly() -> None:
    """A stop that comes before the stream runs is no failure."""

    class Unreachable(ListSink):
        async def open(self) -> None:
            raise SinkUnavailableError("nobody answers")

    pipeline = Pipeline(sources=[endless()], engine=ScriptedEngine(), sinks=[Unreachable()])
    running = asyncio.create_task(pipeline.run())
    await asyncio.sleep(0.05)
    await pipeline.drain(Deadline(5))
    await running


async def test_drain_out_of_time_and_abort_count_what_is_lost() -> None:
    """Frames of a live camera that were in flight when the stream was forced to stop are counted as aborted."""
    gate, seen = threading.Event(), Recorder()
    pipeline = Pipeline(sources=[endless()], engine=ScriptedEngine(gate=gate), sinks=[ListSink()], observer=seen)
    running = asyncio.create_task(pipeline.run())
    while sum(seen.received.values()) < 10:
        await asyncio.sleep(0.005)
    await pipeline.drain(Deadline(0.05))
    with pytest.raises(AbortedError, match="before the deadline"):
        await running
    gate.set()
    assert seen.dropped == {("cam-1", DropCause.ABORTED): seen.received["cam-1"]}


async def test_sources_are_not_read_beyond_the_bounds() -> None:
    """While the engine is stuck no more frames are taken than the limits allow."""
    gate, seen = threading.Event(), Recorder()
    pipeline = Pipeline(
        sources=[endless("a"), endless("b")],
        engine=ScriptedEngine(gate=gate),
        sinks=[],
        limits=Limits(max_in_flight=10, batch_size=4),
        observer=seen,
    )
    running = asyncio.create_task(pipeline.run())
    await asyncio.sleep(0.3)
    assert sum(seen.received.values()) in (10, 11)
    assert abs(seen.received["a"] - seen.received["b"]) <= 2
    gate.set()
    await pipeline.drain()
    await running
    assert len(seen.results) == sum(seen.received.values())


async def test_listeners_are_told_of_what_is_judged_and_of_what_is_committed() -> None:
    """Each frame is shown to the listeners before a sink has it, with pixels and inspection, and again after."""
    sink, told = ListSink(), list[tuple[str, str, int]]()

    class Notes(Listener):
        def judged(self, frame: Frame, prepared: Image | None, inspection: Inspection | None, result: Result) -> None:
            assert frame.frame_id == result.frame_id
            assert (prepared is None) == (inspection is None) == (result.reason is not None)
            told.append(("judged", result.frame_id, len(sink.ids)))

        def result(self, result: Result) -> None:
            told.append(("result", result.frame_id, len(sink.ids)))

    async def frames() -> AsyncIterator[Frame]:
        yield frame("good")
        await until(lambda: len(told) == 4)
        yield frame("broken", b"no image")

    await Pipeline(
        sources=[frames()], engine=ScriptedEngine(), sinks=[sink], listeners=[Notes(), Notes()], observer=Recorder()
    ).run()
    both = [("judged", 0), ("judged", 0), ("result", 1), ("result", 1)]
    assert told == [(what, "good", n) for what, n in both] + [(what, "broken", n + 1) for what, n in both]
