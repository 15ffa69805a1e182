"""A live camera without a network: pictures at a steady rate, from a task, through the slot that real cameras use."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic

import numpy as np

from patchline.stream.cameras.slot import Slot
from patchline.stream.model.errors import DropCause
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer

_IMAGE = np.full((64, 96, 3), 60, np.uint8)


class LiveFeed:
    """Sends `count` pictures at `per_s` a second, from `after_s` on; those that nobody takes in time are superseded."""

    def __init__(
        self, camera: str, per_s: float, count: int, *, observer: Observer | None = None, after_s: float = 0.0
    ) -> None:
        self.live_camera: str | None = camera
        self._per_s, self._count, self._after_s = per_s, count, after_s
        self._observer = observer or Observer()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._slot = Slot[Frame](asyncio.get_running_loop())
        self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        began = monotonic() + self._after_s
        for number in range(self._count):
            await asyncio.sleep(max(0.0, began + number / self._per_s - monotonic()))
            frame = Frame(
                frame_id=f"{self.live_camera}/{number}",
                camera=self.live_camera or "",
                recipe="plate",
                time=datetime.now(UTC),
                received_s=monotonic(),
                image=_IMAGE,
            )
            if self._slot.put_latest(frame) is not None:
                self._observer.frame_received(frame.camera)
                self._observer.frame_dropped(frame.camera, DropCause.SUPERSEDED)
        self._slot.end()

    async def until_waiting(self) -> bool:
        return await self._slot.until_filled()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        frame = await self._slot.take()
        if frame is None:
            raise StopAsyncIteration
        return replace(frame)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
