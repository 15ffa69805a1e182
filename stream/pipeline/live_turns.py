"""Live cameras take turns: each picture is taken as late as may be, so that it is as fresh as can be.

A live camera's freshest picture waits in the camera's source and is replaced by the next one. It is taken from there
only when a place in the next batch is free and the engine is about to be: then no picture grows old in a queue, however
many cameras there are and whatever the load. Places are dealt out by `FairOrder`: a slow camera gets all its pictures
judged beside a fast one, and fast ones get equal shares.
"""

import asyncio
from collections.abc import Awaitable, Callable

from patchline.stream.inspection.fair_order import FairOrder


class LiveTurns:
    """Says whose picture is taken next.

    Args:
        room: waits until a picture may be taken.
        granted: told of each turn as it is given: a picture will be taken.
        unused: told that a picture for which a turn was given will not be taken.
        weight: how many turns a camera gets for one of another that has weight 1.
    """

    def __init__(
        self,
        room: Callable[[], Awaitable[None]],
        *,
        granted: Callable[[], None],
        unused: Callable[[], None],
        weight: Callable[[str], float] = lambda _: 1.0,
    ) -> None:
        self._room, self._granted, self._unused = room, granted, unused
        self._order = FairOrder[str](weight)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._since: dict[str, float] = {}
        """When, by the loop's clock, each of those began to wait."""
        self._changed = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Cameras that wait for their turn."""
        return len(self._waiting)

    async def wait(self, camera: str) -> None:
        """Wait for this camera's turn. One task waits for a camera at a time."""
        loop = asyncio.get_running_loop()
        turn = self._waiting[camera] = loop.create_future()
        self._since[camera] = loop.time()
        self._changed.set()
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.get(camera) is turn:
                del self._waiting[camera]
            if turn.done() and not turn.cancelled():
                self._unused()
            raise

    async def run(self) -> None:
        """Give turns until cancelled."""
        while True:
            while not self._waiting:
                self._changed.clear()
                await self._changed.wait()
            await self._room()
            if self._waiting:  # those who waited may have gone meanwhile
                turn = self._waiting.pop(self._order.pick({camera: self._since[camera] for camera in self._waiting}))
                if not turn.cancelled():
                    self._granted()
                    turn.set_result(None)
