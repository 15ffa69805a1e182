"""Partitions of which a broker can give nothing now: they are asked for again after a pause, and all others go on.

A broker answers at once where it cannot read its own log, so a consumer that asks again at once asks without end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

PAUSE_S = 0.5
PATIENCE_S = 2.0
"""For so long what a broker cannot give may still come, where nothing that it can give is behind it."""

Asked: TypeAlias = Sequence[tuple[str, Sequence[tuple[int, int, int]]]]
"""As a fetch has them: of each topic, of each partition its number, the offset, and how many bytes."""


@dataclass(slots=True)
class _Waiting:
    position: int
    why: str
    since: float
    again: float
    end: int


class WaitingPartitions:
    """The partitions of one consumer that wait, each at an offset."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], _Waiting] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, partition: tuple[str, int], position: int, why: str, end: int = 0) -> int:
        """Do not ask for a partition at an offset for a while.

        Args:
            partition: topic and number.
            position: the offset.
            why: nothing comes; a sentence.
            end: the log's end.

        Returns:
            What was the log's end when the partition began to wait, if that is long enough ago; else `position`.
        """
        now = monotonic()
        found = self._waiting.get(partition)
        if found is None or found.position != position:
            found = self._waiting[partition] = _Waiting(position, why, now, now, end)
        found.why, found.again = why, now + PAUSE_S
        return max(position, found.end) if now - found.since >= PATIENCE_S else position

    def done(self, partition: tuple[str, int]) -> None:
        """A partition waits no longer."""
        self._waiting.pop(partition, None)

    def due(self, asked: Asked) -> list[tuple[str, list[tuple[int, int, int]]]]:
        """What of a fetch need not wait."""
        now = monotonic()
        left = []
        for topic, partitions in asked:
            due = [part for part in partitions if not self._is_early(topic, part[0], part[1], now)]
            if due:
                left.append((topic, due))
        return left

    def long(self, topic: str) -> list[str]:
        """Why partitions of a topic wait that have waited for long, by their numbers."""
        now = monotonic()
        late = {n: w.why for (name, n), w in self._waiting.items() if name == topic and now - w.since > 2 * PATIENCE_S}
        return [late[number] for number in sorted(late)]

    def _is_early(self, topic: str, number: int, position: int, now: float) -> bool:
        found = self._waiting.get((topic, number))
        if found is not None and found.position != position:
            self.done((topic, number))
            return False
        return found is not None and now < found.again
