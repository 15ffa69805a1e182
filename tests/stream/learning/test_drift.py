"""Drift is told of each camera while frames go by."""

import asyncio

import numpy as np

from patchline.engine.inspection.drift import Drift, DriftReference
from patchline.engine.numerics.core_pool import finished
from patchline.engine.types import Verdict
from patchline.stream.inspection.engine_thread import EngineThread
from patchline.stream.learning.drift import DriftWatch
from patchline.stream.model.observer import Observer
from tests.stream.scripted import ScriptedEngine, frame, picture


class Embedding(ScriptedEngine):
    """A frame's patches all have its brightness."""

    def begin_embed(self, recipe, prepared):
        return finished(lambda: np.full((4, 3), int(prepared.mean()), np.int16))


class Told(Observer):
    def __init__(self) -> None:
        self.drift_of: dict[str, Drift] = {}
        self.both = asyncio.Event()

    def drift(self, camera, recipe, drift):
        self.drift_of[camera] = drift
        if len(self.drift_of) == 2:
            self.both.set()


async def test_each_camera_is_compared_with_its_recipes_calibration():
    """A camera like calibration has not moved, a brighter one has; a recipe without calibration is not watched."""
    noise = np.random.default_rng(0)
    levels = noise.normal(50, 2, 30)
    references = {"plate": DriftReference(levels, np.repeat(levels[:, None], 3, axis=1))}
    engine, told = Embedding(["plate", "other"]), Told()
    watch = DriftWatch(engine, references, window=50, every_s=0.01, max_cameras=10, observer=told)
    for n in range(50):
        for camera, recipe, level in (("same", "plate", 50), ("bright", "plate", 90), ("stray", "other", 50)):
            prepared = engine.prepare(recipe, picture(int(level + noise.normal(0, 2))))
            inspection = engine.inspect([(recipe, prepared)])[0]
            assert inspection.verdict is Verdict.PASS
            watch.judged(frame(f"{camera}-{n}", camera=camera, recipe=recipe), prepared, inspection, None)
    thread = EngineThread(engine)
    running = asyncio.create_task(watch.run(thread))
    await asyncio.wait_for(told.both.wait(), 60)
    running.cancel()
    thread.close()
    assert {name: drift.moved for name, drift in told.drift_of.items()} == {"same": False, "bright": True}
    assert told.drift_of["bright"].score_p < 1e-6
