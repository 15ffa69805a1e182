"""Frames in ones and twos, batches out.

A batch closes when it is full, or when the engine has an idle slot and the oldest item has lingered long enough; it
takes whatever waits, of any camera and recipe, and waits for nobody in particular. Where more waits than it can take,
each lane gets its share of the places, urgent lanes a larger one (`FairOrder`): nobody starves, and no lane fills a
batch alone while others wait. Items whose share was dealt out before they came go first. Within a lane the order is
that of submission. While the engine works on one batch a
second may be handed over if it is full, so that the engine never waits for the event loop.

Every item submitted is answered exactly once: with its answer, the error of its batch, or `AbortedError` where
the batcher stops first.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from patchline.stream.inspection.fair_order import FairOrder
from patchline.stream.model.errors import AbortedError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_AHEAD = 2
"""Batches handed over and not yet answered, at most."""


@dataclass(slots=True, eq=False)
class _Item(Generic[Item, Answer]):
    item: Item
    answer: "asyncio.Future[Answer]"
    since_s: float


class Batcher(Generic[Item, Answer]):
    """Collects items into batches for `work`.

    Args:
        work: answers for a batch, one for each item in the same order. Called with the next batch before it has
            answered the last, so it must serve its calls in order.
        size: items in a full batch.
        slots: items that are worked on side by side.
        linger_s: how long an item waits for others while a slot is idle.
        capacity: items that may wait; `submit` waits for room beyond that.
        on_close: told of each batch as it closes: its items, and how long each has waited, in seconds.
        lane: items of the same lane keep their order.
        weight: how many places of a batch a lane gets for one of another, by the item of it that waits for longest.
        first: whether an item goes before others, as all of its lane do.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        size: int,
        slots: int = 1,
        linger_s: float,
        capacity: int,
        on_close: Callable[[Sequence[Item], Sequence[float]], None] | None = None,
        lane: Callable[[Item], Hashable] = lambda _: None,
        weight: Callable[[Item], float] = lambda _: 1.0,
        first: Callable[[Item], bool] = lambda _: False,
    ) -> None:
        self._lane, self._first = lane, first
        self._weight = weight
        self._queues: dict[Hashable, deque[_Item[Item, Answer]]] = {}
        """What waits by lane, while a batch is made of more than it can take."""
        self._order = FairOrder[Hashable](lambda lane: self._weight(self._queues[lane][0].item))
        self._work = work
        self._size = size
        self._slots = slots
        self._linger_s = linger_s
        self._capacity = capacity
        self._on_close = on_close
        self._waiting: deque[_Item[Item, Answer]] = deque()
        self._working: list[int] = []
        """Items of each batch that is worked on."""
        self._closed = False
        self._stopped = False
        self._changed = asyncio.Event()
        self._submitting = asyncio.Lock()  # first come, first served: nobody takes the room another has waited for
        self._room = asyncio.Condition()

    @property
    def waiting(self) -> int:
        """Items that wait for a batch."""
        return len(self._waiting)

    @property
    def lanes(self) -> set[Hashable]:
        """Lanes of which items wait."""
        return {self._lane(one.item) for one in self._waiting}

    async def submit(self, item: Item) -> Answer:
        """Wait for the item's batch, and give its answer.

        Raises:
            AbortedError: the batcher has stopped, or stops before the item's batch.
            Exception: whatever `work` raised for the item's batch.
        """
        async with self._submitting:
            if len(self._waiting) >= self._capacity:
                async with self._room:
                    await self._room.wait_for(lambda: len(self._waiting) < self._capacity or self._closed)
            if self._closed:
                raise AbortedError("the batcher takes no more frames")
            loop = asyncio.get_running_loop()
            waiting = _Item[Item, Answer](item, loop.create_future(), loop.time())
            self._waiting.append(waiting)
        # Otherwise the time for what waits has been set, or the answer that is due will look again.
        if len(self._waiting) >= self._size or (self._idle and len(self._waiting) == 1):
            self._changed.set()
        return await waiting.answer

    async def run(self) -> None:
        """Close and hand over batches until `close`, then what is left; cancelling it fails whatever waits."""
        try:
            async with asyncio.TaskGroup() as batches:
                while not (self._closed and not self._waiting):
                    waited = len(self._waiting)
                    batch = self._take_due()
                    if batch:
                        self._working.append(len(batch))
                        batches.create_task(self._answer(batch))
                    if len(self._waiting) < waited:  # taken, or cancelled and thrown away
                        async with self._room:
                            self._room.notify(waited - len(self._waiting))
                    else:
                        await self._until_changed()
        finally:
            self.close()
            for waiting in self._waiting:
                _fail(waiting, AbortedError("the batcher stopped before the frame's turn"))
            self._waiting.clear()
            async with self._room:
                self._room.notify_all()

    def close(self) -> None:
        """Take no more items. What waits is batched without lingering."""
        self._closed = True
        self._changed.set()

    def _take_due(self) -> list[_Item[Item, Answer]]:
        while self._waiting and self._waiting[0].answer.cancelled():
            self._waiting.popleft()
        if not self._waiting:
            return []
        full = len(self._waiting) >= self._size
        if not ((full and len(self._working) < _AHEAD) or (self._idle and self._lingered_s() <= 0)):
            return []
        # Where an answer was cancelled, whoever submitted the item has gone.
        waiting = [one for one in self._waiting if not one.answer.cancelled()]
        if len(waiting) > self._size:
            batch = self._first_of(waiting)
        else:
            batch = waiting
            self._order.forget()
        taken = set(map(id, batch))
        self._waiting = deque(one for one in waiting if id(one) not in taken)
        return batch

    @property
    def _idle(self) -> bool:
        """Whether an item would be worked on at once."""
        return sum(self._working) < self._slots

    def _first_of(self, waiting: Sequence[_Item[Item, Answer]]) -> list[_Item[Item, Answer]]:
        """A full batch of the items that go first."""
        batch = [one for one in waiting if self._first(one.item)][: self._size]
        taken = set(map(id, batch))
        waiting = [one for one in waiting if id(one) not in taken]
        self._queues = {}
        arrived = {}
        for number, one in enumerate(waiting):
            self._queues.setdefault(self._lane(one.item), deque()).append(one)
            arrived[id(one)] = number
        first = {lane: arrived[id(queue[0])] for lane, queue in self._queues.items()}
        for _ in range(self._size - len(batch)):
            lane = self._order.pick(first)
            queue = self._queues[lane]
            batch.append(queue.popleft())
            if queue:
                first[lane] = arrived[id(queue[0])]
            else:
                del first[lane]
        return batch

    def _lingered_s(self) -> float:
        """Seconds until the oldest item has lingered long enough."""
        if self._closed:
            return 0.0
        return self._waiting[0].since_s + self._linger_s - asyncio.get_running_loop().time()

    async def _until_changed(self) -> None:
        self._changed.clear()
        lingers = bool(self._waiting) and self._idle
        try:
            async with asyncio.timeout(max(0.0, self._lingered_s()) if lingers else None):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _answer(self, batch: list[_Item[Item, Answer]]) -> None:
        items = [waiting.item for waiting in batch]
        try:
            if self._on_close is not None:
                now = asyncio.get_running_loop().time()
                self._on_close(items, [now - waiting.since_s for waiting in batch])
            answers = await self._work(items)
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        except asyncio.CancelledError:
            for waiting in batch:
                _fail(waiting, AbortedError("the batcher stopped while the frame was inspected"))
            raise
        except Exception as error:  # not ours to judge: it belongs to those who wait for this batch
            for waiting in batch:
                _fail(waiting, error)
        finally:
            self._working.remove(len(batch))
            self._changed.set()


def _fail(waiting: _Item[Item, Answer], error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
