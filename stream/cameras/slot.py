"""Where a reader thread leaves frames for the event loop."""

import asyncio
import threading
from typing import Generic, TypeVar

Content = TypeVar("Content")


class Slot(Generic[Content]):
    """Room for one item between one thread that puts and one task that takes.

    `put_latest` replaces what waits, for frames that come at their own pace; `put_when_free` waits until it was taken,
    for frames that all count. Items are taken in the order they were put.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._filled = asyncio.Event()
        self._changed = threading.Condition()
        self._item: Content | None = None
        self._ended = False
        self._error: BaseException | None = None

    def put_latest(self, item: Content) -> Content | None:
        """Leave an item, and give back the one it replaces, or the item itself where nobody will take it."""
        with self._changed:
            if self._ended:
                return item
            replaced, self._item = self._item, item
        if replaced is None:
            self._wake()
        return replaced

    def put_when_free(self, item: Content) -> bool:
        """Leave an item once the last one was taken; False where nobody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is None or self._ended)
            if self._ended:
                return False
            self._item = item
        self._wake()
        return True

    def end(self, error: BaseException | None = None) -> None:
        """No more items, or none but this error. What waits may still be taken."""
        with self._changed:
            self._ended = True
            self._error = self._error or error
            self._changed.notify_all()
        self._wake()

    async def until_filled(self) -> bool:
        """Wait until `take` returns an item or raises at once; False where there is none to come."""
        while True:
            self._filled.clear()
            with self._changed:
                if self._item is not None or self._error is not None:
                    return True
                if self._ended:
                    return False
            await self._filled.wait()

    async def take(self) -> Content | None:
        """The next item; None after the last.

        Raises:
            BaseException: the error of `end`, after the last item.
        """
        while True:
            self._filled.clear()
            with self._changed:
                item, self._item = self._item, None
                ended, error = self._ended, self._error
                self._changed.notify_all()
            if item is not None:
                return item
            if error is not None:
                raise error
            if ended:
                return None
            await self._filled.wait()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._filled.set)
