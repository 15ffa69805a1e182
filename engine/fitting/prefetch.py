"""Items made ahead of their use on a thread of their own, so that decoding overlaps with the backbone."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
DEPTH = 4


def read_ahead(items: Iterator[Item], depth: int = DEPTH) -> Iterator[Item]:
    """The same items in the same order, the next `depth` of them made on a thread of its own meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="patchline-read") as reader:
        pending: deque[Future[Item | None]] = deque()
        try:
            for _ in range(depth):
                pending.append(reader.submit(next, items, None))
            while (item := pending.popleft().result()) is not None:
                pending.append(reader.submit(next, items, None))
                yield item
        finally:
            for future in pending:
                future.cancel()
