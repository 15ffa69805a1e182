"""The rows of a memory bank as they change: how row numbers went over into others, and rows that grow in place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchline.engine.types import Rows

SPARE = 2
"""Where rows outgrow their array, the next one has room for one more row in so many of those there."""


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """How one state of the rows became the next: `kept` are the former row numbers that stay, in order, int64 (K,);
    rows from number K on are new. There were `before` rows, and are `after`.
    """

    kept: NDArray[np.int64]
    before: int
    after: int

    @classmethod
    def none(cls, rows: int) -> "Delta":
        """So many rows, and none joined or left."""
        return cls(np.arange(rows), rows, rows)

    @property
    def added(self) -> int:
        """Rows that joined."""
        return self.after - len(self.kept)

    @property
    def removed(self) -> int:
        """Rows that left."""
        return self.before - len(self.kept)

    def then(self, later: "Delta") -> "Delta":
        """This change followed by a later one, as one."""
        positions = later.kept[later.kept < len(self.kept)]
        return Delta(self.kept[positions], self.before, later.after)


class GrowingRows:
    """Rows, int16 (M, D), in an array with room behind them; one thread at a time appends to those that share it.

    `values` never change. Of several that start from the same rows the first to grow takes the room, others copy.
    """

    def __init__(self, values: Rows) -> None:
        self.values = values
        self._buffer = _Buffer(values, len(values))

    def with_more(self, new: Rows) -> "GrowingRows":
        """These rows and then `new`, int16 (m, D)."""
        if not len(new):
            return self
        count = len(self.values) + len(new)
        buffer = self._buffer
        if buffer.used != len(self.values) or count > len(buffer.array):
            array = np.empty((count + count // SPARE, self.values.shape[1]), dtype=self.values.dtype)
            array[: len(self.values)] = self.values
            buffer = _Buffer(array, len(self.values))
        buffer.array[len(self.values) : count] = new
        buffer.used = count
        grown = GrowingRows(buffer.array[:count])
        grown._buffer = buffer
        return grown


class _Buffer:
    """An array of rows, of which the first `used` are taken."""

    def __init__(self, array: Rows, used: int) -> None:
        self.array = array
        self.used = used
