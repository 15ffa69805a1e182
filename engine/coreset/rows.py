"""How the rows of a memory bank changed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """How one state of the rows became the next: `kept` are the former row numbers that stay, in order, int64 (K,);
    rows from number K on are new.
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
