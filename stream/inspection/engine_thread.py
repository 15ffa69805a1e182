"""One thread owns the engine. Nothing else calls it, and the event loop never computes.

Frames go first. What is learned runs between batches, in steps (`scheduler.py`), with one core: beside frames that have
the other cores, a step with more would wait for these.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from patchline.engine.numerics.core_pool import on_one_core
from patchline.engine.types import Image, Inspection
from patchline.stream.inspection.engine import Engine, Maps, OverlappingEngine
from patchline.stream.inspection.scheduler import EngineScheduler
from patchline.stream.model.errors import EngineFailedError
from patchline.stream.support.heartbeat import Heartbeat

Later = TypeVar("Later")


class EngineThread:
    """Runs an engine's calls one after another on a thread that it owns.

    Args:
        engine: what judges and learns.
        maps: for which frames the anomaly map is kept.
        heart: beats while the thread moves, once it is warm: kernels are compiled before, which takes what it takes.
    """

    def __init__(self, engine: Engine, *, maps: Maps = "none", heart: Heartbeat | None = None) -> None:
        self._engine = engine
        self._maps: Maps = maps
        self._heart = heart
        self._scheduler = EngineScheduler("engine")

    @property
    def slots(self) -> int:
        """Frames that are computed side by side."""
        return self._engine.slots if isinstance(self._engine, OverlappingEngine) else 1

    async def warm_up(self) -> None:
        """Run the engine's first batch before any frame waits for it."""
        await asyncio.wrap_future(self._scheduler.call(self._engine.warm_up))
        if self._heart is not None:
            self._scheduler.watch(self._heart)

    async def inspect(self, frames: Sequence[tuple[str, Image]]) -> list[Inspection]:
        """Judge a batch.

        Raises:
            EngineFailedError: the engine raised, or did not answer for every frame.
        """
        try:
            inspections = await asyncio.wrap_future(self._started(frames))
        except Exception as error:  # whatever the engine raises is fatal to the batch, and is named here once
            recipes = ", ".join(sorted({recipe for recipe, _ in frames}))
            raise EngineFailedError(
                f"the engine failed on a batch of {len(frames)} (recipes: {recipes}): {type(error).__name__}: {error}"
            ) from error
        if len(inspections) != len(frames):
            raise EngineFailedError(f"the engine gave {len(inspections)} inspections for {len(frames)} frames")
        return inspections

    def _started(self, frames: Sequence[tuple[str, Image]]) -> "Future[list[Inspection]]":
        engine, maps = self._engine, self._maps
        if isinstance(engine, OverlappingEngine):
            return self._scheduler.begin(lambda: engine.begin(frames, maps=maps))
        return self._scheduler.call(lambda: engine.inspect(frames, maps=maps))

    async def among_frames(self, begin: Callable[[], "Future[Later]"]) -> Later:
        """The answer to what `begin` begins after the batches before it, as if it were one of them.

        Raises:
            Exception: whatever `begin` or its answer raised; the engine goes on.
        """
        return await asyncio.wrap_future(self._scheduler.begin(begin))

    async def between_batches(self, steps: Iterator[None], *, alone: bool = False, short: bool = False) -> None:
        """Run an iterator to its end, a step at a time, while no batch waits, and some even so.

        Args:
            steps: what to run.
            alone: whether no batch may be under way meanwhile.
            short: whether they take so little that they need not wait for time that no batch wants.

        Raises:
            Exception: whatever a step raised; the engine goes on.
        """
        await asyncio.wrap_future(self._scheduler.steps(on_one_core(steps), alone=alone, short=short))

    def close(self) -> None:
        """Let the thread end after the call it is in."""
        self._scheduler.close()
