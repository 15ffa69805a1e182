"""Drift is told of each camera while frames go by."""

import asyncio
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import numpy as np
from numpy.typing import NDArray

from patchline.engine.inspection.drift import Drift, DriftReference
from patchline.engine.numerics.core_pool import finished
from patchline.engine.types import Image, Rows, Verdict
from patchline.stream.inspection.engine import LearningEngine
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.drift import DriftWatch
from patchline.stream.model.observer import Observer
from patchline.stream.model.result import Result
from tests.stream.scripted import ScriptedEngine, frame, picture
from tests.stream.waiting import until


class Embedding(ScriptedEngine):
    """A frame's patches all have its brightness."""

    def begin_embed(self, recipe: str, prepared: Image) -> Future[Rows]:
        return finished(lambda: np.full((4, 3), int(prepared.mean()), np.int16))


class Told(Observer):
    def __init__(self) -> None:
        self.drift_of: dict[str, Drift] = {}
        self.both = asyncio.Event()

    def drift(self, camera: str, recipe: str, drift: Drift) -> None:
        self.drift_of[camera] = drift
        if len(self.drift_of) == 2:
            self.both.set()


def passed(camera: str, recipe: str) -> Result:
    now = datetime.now(UTC)
    return Result(
        frame_id="f", camera=camera, recipe=recipe, time=now, inspected_at=now, verdict=Verdict.PASS, latency_ms=1.0
    )


async def test_each_camera_is_compared_with_its_recipes_calibration() -> None:
    """A camera like calibration has not moved, a brighter one has; a recipe without calibration is not watched."""
    noise = np.random.default_rng(0)
    levels = noise.normal(50, 2, 30)
    references = {"plate": DriftReference(levels, np.repeat(levels[:, None], 3, axis=1))}
    engine, told = Embedding(["plate", "other"]), Told()
    watch = DriftWatch(cast(LearningEngine, engine), references, window=50, every_s=0.01, max_cameras=10, observer=told)
    for n in range(50):
        for camera, recipe, level in (("same", "plate", 50), ("bright", "plate", 90), ("stray", "other", 50)):
            prepared = engine.prepare(recipe, picture(int(level + noise.normal(0, 2))))
            inspection = engine.inspect([(recipe, prepared)])[0]
            assert inspection.verdict is Verdict.PASS
            result = passed(camera, recipe)
            watch.judged(frame(f"{camera}-{n}", camera=camera, recipe=recipe), prepared, inspection, result)
    thread = EngineThread(engine)
    running = asyncio.create_task(watch.run(thread))
    await asyncio.wait_for(told.both.wait(), 60)
    running.cancel()
    thread.close()
    assert {name: drift.moved for name, drift in told.drift_of.items()} == {"same": False, "bright": True}
    assert told.drift_of["bright"].score_p < 1e-6


async def test_what_is_compared_and_what_is_not_yet() -> None:
    """Each camera keeps a window of scores, sampled frames are embedded once, and a few frames say nothing yet."""
    asked: list[tuple[list[float], list[list[float]]]] = []

    class Reference:
        def compare(self, scores: NDArray[np.float64], embeddings: NDArray[np.float64]) -> Drift:
            asked.append((scores.tolist(), embeddings.tolist()))
            return Drift(score_statistic=0.1, score_p=0.5, embedding_distance=1.0, embedding_limit=2.0)

    engine, told = Embedding(), Told()
    references = {"plate": cast(DriftReference, Reference())}
    watch = DriftWatch(cast(LearningEngine, engine), references, window=21, every_s=0.01, max_cameras=1, observer=told)
    prepared = np.full((8, 8, 3), 40, np.uint8)

    def judge(camera: str, score: float, shown: Image | None = prepared) -> None:
        (inspection,) = engine.inspect([("plate", picture(50))])
        inspection = replace(inspection, score=score)
        watch.judged(frame("f", camera=camera), shown, inspection, passed(camera, "plate"))

    for number in range(19):
        judge("cam", number)
    judge("second", 1.0)  # more cameras than are watched
    watch.judged(frame("f", camera="cam"), None, None, passed("cam", "plate"))  # not inspected: no score
    thread = EngineThread(engine)
    running = asyncio.create_task(watch.run(thread))
    await until(lambda: watch._cameras["cam"].latest is None)
    await asyncio.sleep(0.1)
    assert asked == []  # 19 scores are too few
    judge("cam", 19)
    await until(lambda: len(asked) == 1)
    await asyncio.sleep(0.05)
    assert asked == [([float(n) for n in range(20)], [[40.0] * 3] * 2)]
    judge("cam", 20)
    judge("cam", 21)
    await until(lambda: len(asked) >= 2)
    assert asked[-1][0] == [float(n) for n in range(1, 22)]
    assert set(told.drift_of) == {"cam"}
    running.cancel()
    thread.close()


def test_another_recipe_of_a_camera_has_statistics_of_its_own() -> None:
    """When a camera changes its view, what was seen before is forgotten."""
    engine = Embedding(["plate", "bolt"])
    reference = DriftReference(np.arange(9.0), np.arange(27.0).reshape(9, 3))
    references = {"plate": reference, "bolt": reference}
    watch = DriftWatch(
        cast(LearningEngine, engine), references, window=5, every_s=1, max_cameras=1, observer=Observer()
    )
    for recipe in ("plate", "plate", "bolt"):
        (inspection,) = engine.inspect([(recipe, picture(50))])
        watch.judged(frame("f", camera="cam", recipe=recipe), picture(50), inspection, passed("cam", recipe))
    camera = watch._cameras["cam"]
    assert (camera.recipe, len(camera.scores)) == ("bolt", 1)
