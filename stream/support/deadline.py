"""One deadline shared by all the steps of a shutdown: what one step takes, the next ones no longer have."""

from time import monotonic


class Deadline:
    """A moment, `seconds` from now on the monotonic clock. None: there is no hurry."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else monotonic() + seconds

    @property
    def left_s(self) -> float | None:
        """Seconds left, never negative; None where there is no deadline."""
        return None if self._at is None else max(0.0, self._at - monotonic())

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.left_s == 0.0

    def at_most(self, seconds: float) -> float:
        """What is left, but no more than `seconds`."""
        return seconds if self.left_s is None else min(seconds, self.left_s)
