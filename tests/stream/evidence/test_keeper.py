"""The evidence store keeps rejects and a sample of passes, by time and size, and holds nothing up."""

import asyncio
import contextlib
import hashlib
import os
import threading
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from patchline.engine.types import Verdict
from patchline.stream.evidence.keeper import EvidenceKeeper
from patchline.stream.evidence.store import Evidence, EvidenceStore
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import GenerationRef, Result
from patchline.stream.pipeline import Pipeline
from tests.stream.kafka_help import until
from tests.stream.scripted import ScriptedEngine, frame, jpeg, picture

DAY_S = 86_400.0


def evidence(frame_id: str, image: bytes, verdict: Verdict = Verdict.REJECT) -> Evidence:
    now = datetime.now(UTC)
    result = Result(
        frame_id=frame_id,
        camera="cam-1",
        recipe="plate",
        time=now,
        inspected_at=now,
        verdict=verdict,
        latency_ms=1.0,
        score=120.0,
        threshold=100.0,
        generation=GenerationRef(number=1, sha256="5" * 64),
    )
    return Evidence(
        result=result,
        content_type="image/jpeg",
        sha256=hashlib.sha256(image).hexdigest(),
        grid=(4, 6),
        worst_patch=(1, 2),
        nearest_row=3,
    )


def store_at(url: str, keep_s: float = DAY_S, keep_bytes: int = 10**9) -> EvidenceStore:
    return EvidenceStore(url, keep_s=keep_s, keep_bytes=keep_bytes)


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_frame_comes_back_by_its_id(where, tmp_path, unique_name):
    """Image, result and map come back, on disk and on another file system; what was never kept is not there."""
    store = store_at(str(tmp_path) if where == "folder" else f"memory://{unique_name('evidence')}")
    anomaly_map = np.linspace(0, 5, 32 * 48, dtype=np.float32).reshape(32, 48)
    store.put(evidence("line/1", b"bytes"), b"bytes", anomaly_map)
    found = store.find("line/1", ["other", "plate"])
    assert found is not None
    assert (found.result.score, found.nearest_row, found.map_max) == (120.0, 3, 5.0)
    assert store.image(found) == b"bytes"
    grey = cv2.imdecode(np.frombuffer(store.map_png(found) or b"", np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.abs(grey / 255 * 5 - anomaly_map).max() <= 5 / 255
    assert store.find("line/2", ["plate"]) is None
    assert [e.result.frame_id for e in store.recent_rejects("plate", 5)] == ["line/1"]


def test_altered_or_half_written_frames_are_not_there(tmp_path):
    """An image that is not the one kept is not given out, and a record cut short is none."""
    store = store_at(str(tmp_path))
    store.put(evidence("a", b"bytes"), b"bytes")
    found = store.find("a", ["plate"])
    assert found is not None
    next(tmp_path.rglob("*.image")).write_bytes(b"other")
    assert store.image(found) is None
    record = next(tmp_path.rglob("*.json"))
    record.write_bytes(record.read_bytes()[:-10])
    assert store.find("a", ["plate"]) is None


def test_old_and_surplus_frames_are_removed_oldest_first(tmp_path):
    """Age and bytes bound the store; files that are not its own stay."""
    store = store_at(str(tmp_path), keep_s=1000, keep_bytes=5000)
    for age, name in ((5000, "old"), (30, "first"), (20, "second"), (10, "third")):
        store.put(evidence(name, bytes(1500)), bytes(1500))
        digest = hashlib.sha256(name.encode()).hexdigest()
        for path in tmp_path.rglob(f"{digest}.*"):
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    (tmp_path / "plate" / "mine.json").write_text("{}")
    assert store.expire() == 2
    left = [name for name in ("old", "first", "second", "third") if store.find(name, ["plate"]) is not None]
    assert left == ["second", "third"]
    assert (tmp_path / "plate" / "mine.json").exists()


class Counting(Observer):
    def __init__(self):
        self.seen: list[str] = []

    def evidence(self, recipe, outcome):
        self.seen.append(outcome)


class BlockedStore(EvidenceStore):
    """Writes only once the gate is open."""

    gate: threading.Event

    def put(self, *kept):
        assert self.gate.wait(60)
        super().put(*kept)


async def test_rejects_are_kept_and_a_slow_store_holds_nothing_up(tmp_path):
    """While the store hangs, results go on and what does not fit is dropped and counted; then the rest is kept."""
    store = BlockedStore(str(tmp_path), keep_s=DAY_S, keep_bytes=10**9)
    store.gate = threading.Event()
    seen = Counting()
    large = jpeg(200, (320, 320))
    size = len(large)
    keeper = EvidenceKeeper(store, pass_share=0.0, queue_bytes=4 * size, observer=seen)
    results: list[str] = []

    class Results(Observer):
        def result(self, result):
            results.append(result.frame_id)

    async def frames():
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
    pixels = cv2.imdecode(np.frombuffer(store.image(live) or b"", np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(pixels[..., ::-1], picture(200))


async def test_the_sample_of_passes_is_the_same_everywhere(tmp_path):
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
