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
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
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
