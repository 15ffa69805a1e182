"""A write to the alarms in Redis: the step along a log that it belongs to, and what became of it."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Advance:
    """A step along a log: its results were taken into account up to `before` (exclusive), and now are up to `after`."""

    log: str
    before: int | None
    after: int


class Written(StrEnum):
    """What became of a write."""

    WRITTEN = "written"
    CHANGED = "changed"
    """Nothing was written: someone else has written one of the states since it was read."""
    MOVED = "moved"
    """Nothing was written: the log's position is not the one that the write was computed from."""


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """What became of a write, and the cameras that it left out because there are as many as there may be."""

    written: Written
    refused: frozenset[str] = frozenset()
