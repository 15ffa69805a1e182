"""Signs of life: each part that may hang notes when it moves, and whoever asks sees how long it has not.

A part that has nothing to do rests, and what rests does not hang. So an idle line, a broker that is away and a queue
that is full are no fault: only work that is there and does not go on is one.
"""

import time
from collections.abc import Callable, Iterator


class Heartbeat:
    """The sign of life of one part. Noted on any thread.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since_s: float | None = None

    def beat(self) -> None:
        """Note that it moves, and has work."""
        self._since_s = self._clock()

    def rest(self) -> None:
        """Note that it has nothing to do, until the next beat."""
        self._since_s = None

    @property
    def resting(self) -> bool:
        """Whether it has nothing to do."""
        return self._since_s is None

    @property
    def silent_s(self) -> float:
        """For how long it has had work and not moved, in seconds; 0 while it rests."""
        since_s = self._since_s
        return 0.0 if since_s is None else max(0.0, self._clock() - since_s)


class Watchdog:
    """Finds what hangs among parts.

    Args:
        bound_s: a part that has work may be silent for so long.
    """

    def __init__(self, bound_s: float) -> None:
        self._bound_s = bound_s
        self._parts: dict[str, Heartbeat] = {}

    def heartbeat(self, part: str) -> Heartbeat:
        """The sign of life of a part, by its name; one more part from the first time on."""
        return self._parts.setdefault(part, Heartbeat())

    def __iter__(self) -> Iterator[tuple[str, Heartbeat]]:
        return iter(list(self._parts.items()))

    def hanging(self) -> str | None:
        """What hangs, in words; None while nothing does."""
        silent = [(part, heart.silent_s) for part, heart in self]
        found = [f"{part} has not moved for {silent_s:.1f} s" for part, silent_s in silent if silent_s > self._bound_s]
        return "; ".join(found) or None
