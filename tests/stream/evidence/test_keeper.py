"""The keeper hands rejects and a sample of passes to the store, and holds nothing up."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from patchline.engine.types import AnomalyMap, Verdict
from patchline.stream.evidence.keeper import EvidenceKeeper
from patchline.stream.evidence.store import Evidence, EvidenceStore
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.errors import EvidenceError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer, StoredKind
from patchline.stream.model.result import Result
from patchline.stream.pipeline import Pipeline
from tests.stream.evidence_help import DAY_S, decoded, evidence, store_at
from tests.stream.scripted import ScriptedEngine, frame, jpeg, picture
from tests.stream.waiting import until


class Counting(Observer):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def evidence(self, recipe: str, outcome: str) -> None:
        self.seen.append(outcome)


class BlockedStore(EvidenceStore):
    """Writes only once the gate is open."""

    gate: threading.Event

    def put(self, evidence: Evidence, image: bytes, anomaly_map: AnomalyMap | None = None) -> None:
        assert self.gate.wait(60)
        super().put(evidence, image, anomaly_map)


async def test_rejects_are_kept_and_a_slow_store_holds_nothing_up(tmp_path: Path) -> None:
    """While the store hangs, results go on and what does not fit is dropped and counted; then the rest is kept."""
    store = BlockedStore(str(tmp_path), keep_s=DAY_S, keep_bytes=10**9)
    store.gate = threading.Event()
    seen = Counting()
    large = jpeg(200, (320, 320))
    size = len(large)
    keeper = EvidenceKeeper(store, pass_share=0.0, queue_bytes=4 * size, observer=seen)
    results: list[str] = []

    class Results(Observer):
        def result(self, result: Result) -> None:
            results.append(result.frame_id)

    async def frames() -> AsyncIterator[Frame]:
        for n in range(12):
            yield frame(f"r{n}", large)
            yield frame(f"p{n}", jpeg(50))
        await until(lambda: len(results) == 24)
        store.gate.set()
        await until(lambda: seen.seen.count("kept") == 4)
        yield frame("live", image=picture(200))

    pipeline = Pipeline(
        sources=[frames()],
        engine=ScriptedEngine(),
        sinks=[],
        observer=Results(),
        listeners=[keeper],
        side_tasks=[keeper],
        limits=Limits(batch_size=4),
    )
    await pipeline.run()
    assert len(results) == 25
    assert seen.seen.count("dropped") == 8
    kept = [e.result.frame_id for e in store.recent_rejects("plate", 100)]
    assert sorted(kept) == ["live", "r0", "r1", "r2", "r3"]
    live = store.find("live", ["plate"])
    assert live is not None
    assert np.array_equal(decoded(store.image(live)), picture(200))


async def test_the_sample_of_passes_is_the_same_everywhere(tmp_path: Path) -> None:
    """A frame's id decides whether a pass is kept: two workers keep the same ones, about the share asked for."""
    kept = []
    for worker in ("a", "b"):
        store = store_at(str(tmp_path / worker))
        keeper = EvidenceKeeper(store, pass_share=0.3, queue_bytes=10**8)
        task = asyncio.create_task(keeper.run(EngineThread(ScriptedEngine())))
        await asyncio.sleep(0)
        inspection = ScriptedEngine().inspect([("plate", picture(10))])[0]
        for n in range(200):
            passed = evidence(f"p{n}", b"", Verdict.PASS).result
            keeper.judged(frame(f"p{n}", b"x"), None, inspection, passed)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        kept.append({n for n in range(200) if store.find(f"p{n}", ["plate"]) is not None})
    assert kept[0] == kept[1]
    assert 30 < len(kept[0]) < 90


class Told(Observer):
    """What was told, in its order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def evidence(self, recipe: str, outcome: str) -> None:
        self.told.append((recipe, outcome))

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        self.told.append((what, str(error), str(attempt)))

    def damaged_file(self, what: StoredKind, where: str, why: str) -> None:
        self.told.append((what, where, why))


class Failing(EvidenceStore):
    """Neither writes nor expires."""

    def put(self, evidence: Evidence, image: bytes, anomaly_map: AnomalyMap | None = None) -> None:
        raise EvidenceError("no space")

    def expire(self) -> int:
        raise EvidenceError("cannot list")


def _reject(keeper: EvidenceKeeper, given: Frame) -> None:
    inspection = ScriptedEngine().inspect([("plate", picture(200))])[0]
    keeper.judged(given, None, inspection, evidence(given.frame_id, b"", Verdict.REJECT).result)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)


async def test_what_the_store_refuses_is_told_and_writing_goes_on(tmp_path: Path) -> None:
    """A frame that failed has its recipe counted; a failed expiry belongs to no recipe; both say why."""
    store, seen = Failing(str(tmp_path), keep_s=DAY_S, keep_bytes=10**9), Told()
    keeper = EvidenceKeeper(store, pass_share=0.0, queue_bytes=10**6, observer=seen)
    _reject(keeper, frame("a", b"x"))
    _reject(keeper, frame("b", b"x"))
    task = asyncio.create_task(keeper.run(EngineThread(ScriptedEngine())))
    await until(lambda: len(seen.told) == 5)
    await _ended(task)
    failed = [("evidence", "no space", "1"), ("plate", "failed")]
    assert seen.told == [*failed, ("evidence", "cannot list", "1"), *failed]


async def test_the_queue_takes_exactly_its_bytes_and_nothing_after_the_end(tmp_path: Path) -> None:
    """Encoded bytes and pixels count, and leave room once written; what comes after the end is dropped."""
    store, seen = store_at(str(tmp_path)), Told()
    pixels = np.zeros((10, 20, 3), np.uint8)
    keeper = EvidenceKeeper(store, pass_share=0.0, queue_bytes=1000, observer=seen)
    _reject(keeper, frame("a", b"x" * 400))
    _reject(keeper, frame("b", image=pixels))
    assert seen.told == []
    _reject(keeper, frame("c", b"x"))
    assert seen.told == [("plate", "dropped")]
    task = asyncio.create_task(keeper.run(EngineThread(ScriptedEngine())))
    await until(lambda: len(seen.told) == 3)
    _reject(keeper, frame("d", b"x" * 1000, content_type="image/jpeg"))
    await until(lambda: len(seen.told) == 4)
    await _ended(task)
    _reject(keeper, frame("e", b"x"))
    assert seen.told == [("plate", "dropped"), *[("plate", "kept")] * 3, ("plate", "dropped")]
    found = {name: store.find(name, ["plate"]) for name in "abcde"}
    kinds = {name: one.content_type for name, one in found.items() if one is not None}
    assert kinds == {"a": "application/octet-stream", "b": "image/png", "d": "image/jpeg"}


async def test_frames_that_were_not_inspected_are_not_kept_and_old_ones_expire(tmp_path: Path) -> None:
    """With every pass kept, one without an inspection is not; the first look for old frames is at once."""
    store = store_at(str(tmp_path), keep_s=DAY_S, keep_bytes=0)
    store.put(evidence("old", b"x"), b"x")
    keeper = EvidenceKeeper(store, pass_share=1.0, queue_bytes=1000)
    keeper.judged(frame("none", b"x"), None, None, evidence("none", b"", Verdict.PASS).result)
    assert not keeper._waiting
    inspection = ScriptedEngine().inspect([("plate", picture(10))])[0]
    keeper.judged(frame("pass", b"x"), None, inspection, evidence("pass", b"", Verdict.PASS).result)
    assert len(keeper._waiting) == 1
    task = asyncio.create_task(keeper.run(EngineThread(ScriptedEngine())))
    await until(lambda: store.find("old", ["plate"]) is None and not keeper._waiting)
    await _ended(task)
    assert not keeper._thread.is_alive()


async def test_what_the_store_passes_over_is_told_on_the_event_loop(tmp_path: Path) -> None:
    """Whichever thread has read it."""
    store, seen = store_at(str(tmp_path)), Told()
    keeper = EvidenceKeeper(store, pass_share=0.0, queue_bytes=1000, observer=seen)
    task = asyncio.create_task(keeper.run(EngineThread(ScriptedEngine())))
    await asyncio.sleep(0)
    await asyncio.to_thread(store._pass_over, "x/a.json", "is no evidence")
    await until(lambda: len(seen.told) == 1)
    assert seen.told == [("evidence", "x/a.json", "is no evidence")]
    await _ended(task)


async def test_a_frame_that_breaks_the_writer_ends_it_for_no_other(tmp_path: Path) -> None:
    """An error that nobody thought of is told, and the next frame is written."""

    class Odd(EvidenceStore):
        def put(self, evidence: Evidence, image: bytes, anomaly_map: AnomalyMap | None = None) -> None:
            if evidence.result.frame_id == "a":
                raise ZeroDivisionError("odd")
            super().put(evidence, image, anomaly_map)

        def expire(self) -> int:
            raise ZeroDivisionError("odd too")

    store, seen = Odd(str(tmp_path), keep_s=DAY_S, keep_bytes=10**9), Told()
    keeper = EvidenceKeeper(store, pass_share=0.0, queue_bytes=10**6, observer=seen)
    for name in ("a", "b"):
        _reject(keeper, frame(name, b"x"))
    task = asyncio.create_task(keeper.run(EngineThread(ScriptedEngine())))
    await until(lambda: ("plate", "kept") in seen.told)
    await _ended(task)
    assert seen.told == [("evidence", "odd", "1"), ("plate", "failed"), ("evidence", "odd too", "1"), ("plate", "kept")]
