"""Lets many through together, or one alone, in the order of arrival.

A frame that may have crashed a worker is tried with nothing else in flight: so a second crash is known to be its own.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Lets any number through together, or one alone. Whoever comes later never overtakes one who waits."""

    def __init__(self) -> None:
        self._inside = 0
        self._closed = False
        self._queue: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """With others who are together."""
        await self._enter(alone=False)
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """With nobody else inside."""
        await self._enter(alone=True)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, *, alone: bool) -> None:
        if not (self._queue or self._closed or (alone and self._inside)):
            self._inside += 1
            self._closed = alone
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((alone, admitted))
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self._leave()
            else:
                self._admit()
            raise

    def _leave(self) -> None:
        self._inside -= 1
        self._closed = False
        self._admit()

    def _admit(self) -> None:
        while self._queue and not self._closed:
            alone, admitted = self._queue[0]
            if not admitted.cancelled():
                if alone and self._inside:
                    return
                self._inside += 1
                self._closed = alone
                admitted.set_result(None)
            self._queue.popleft()
