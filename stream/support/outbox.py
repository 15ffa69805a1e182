"""Events that wait for a server: bounded, in order, and never in the way of those that happen next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from patchline.stream.model.errors import StreamError
from patchline.stream.model.observer import Observer
from patchline.stream.support.retry import retry_until_done

Event = TypeVar("Event")
REFUSED_PAUSE_S = 30.0


class Outbox(Generic[Event]):
    """Takes events on the event loop, and hands them on one by one.

    Args:
        most: events that wait; of more the oldest make room, because what is now matters more than what was.
    """

    def __init__(self, most: int = 1_000) -> None:
        self._events: deque[Event] = deque(maxlen=most)
        self._more = asyncio.Event()

    def put(self, event: Event) -> None:
        """Take one. It returns at once."""
        self._events.append(event)
        self._more.set()

    async def run(self, what: str, send: Callable[[Event], Awaitable[None]], observer: Observer) -> None:
        """Hand on until cancelled. A server that is away, or refuses, is asked again.

        Args:
            what: names the server.
            send: hands one event on; raises a StreamError where it cannot.
            observer: told of what is away.
        """
        while True:
            while self._events:
                await _sent(what, send, self._events.popleft(), observer)
            self._more.clear()
            await self._more.wait()


async def _sent(
    what: str,
    send: Callable[[Event], Awaitable[None]],
    event: Event,
    observer: Observer,
) -> None:
    while True:
        try:
            return await retry_until_done(what, lambda: send(event), observer)
        except StreamError as error:  # a right that is missing, say: it can be given while the service runs
            observer.retrying(what, error, 1)
            await asyncio.sleep(REFUSED_PAUSE_S)
