"""One change of a module in one place."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a mutation changes."""

    COMPARISON = "comparison"
    ARITHMETIC = "arithmetic"
    CONSTANT = "constant"
    CONDITION = "condition"
    DELETED = "deleted statement"
    SWAPPED = "swapped order"


@dataclass(frozen=True, slots=True)
class Place:
    """One mutation of a module: `new` instead of the bytes from `start` to `end`.

    `function` is the qualified name around it, `text` the line it begins on, `change` what changes, for people.
    """

    kind: Kind
    function: str
    line: int
    text: str
    change: str
    start: int
    end: int
    new: str

    def applied(self, source: str) -> str:
        """The module's text with this one change."""
        old = source.encode()
        return (old[: self.start] + self.new.encode() + old[self.end :]).decode()
