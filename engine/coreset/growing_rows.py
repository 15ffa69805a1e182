"""Rows that grow in place: what has been given out stays as it is, and what joins goes behind it."""

import numpy as np

from patchline.engine.numerics.quantise import Rows

SPARE = 2
"""Room made for more rows is a share of one in so many of those there."""


class GrowingRows:
    """Rows, int16 (M, D), in an array with room behind them; one thread at a time appends to those that share it.

    `values` never change. Of several that start from the same rows the first to grow has the room, others copy.
    """

    def __init__(self, values: Rows) -> None:
        self.values = values
        self._room = _Room(values, len(values))

    def with_more(self, new: Rows) -> "GrowingRows":
        """These rows and then `new`, int16 (m, D)."""
        if not len(new):
            return self
        count = len(self.values) + len(new)
        room = self._room
        if room.used != len(self.values) or count > len(room.array):
            array = np.empty((count + count // SPARE, self.values.shape[1]), dtype=self.values.dtype)
            array[: len(self.values)] = self.values
            room = _Room(array, len(self.values))
        room.array[len(self.values) : count] = new
        room.used = count
        grown = GrowingRows(room.array[:count])
        grown._room = room
        return grown


class _Room:
    def __init__(self, array: Rows, used: int) -> None:
        self.array = array
        self.used = used
