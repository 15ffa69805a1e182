"""Rows in groups of near ones, so that a few products find some near row for any query.

Groups are the leaves of a k-d tree (Bentley 1975) over the rows' points, all full but one; rows that join later make
groups of their own, until there are so many that the tree is made anew. Only speed depends on how good groups are.
"""

import numpy as np
import torch
from torch import Tensor

from patchline.engine.types import Floats, Indices

GROUPS = 1024
"""Groups at most; a new tree takes three quarters of them, and leaves the rest to rows that join."""
SMALLEST = 32
"""Rows in a group of a small bank; larger banks have this times a power of two."""


class RowGroups:
    """Groups of the rows of an index whose factors, half (M', K), hold -2 points, squared norms and zeros."""

    def __init__(self, factors: Tensor, count: int, dimensions: int) -> None:
        """`count` of the factors are rows; their points have so many `dimensions`."""
        self._dimensions = dimensions
        self.size = SMALLEST
        while self.size * (GROUPS * 3 // 4) < count:
            self.size *= 2
        points = factors[:count, :dimensions].float().cpu().numpy()
        K, device = factors.shape[1], factors.device
        self.centres = torch.zeros((GROUPS, K), dtype=torch.float16, device=device)
        """Factors of the groups' centres; where there is no group, the squared norm is infinite."""
        self.centres[:, dimensions] = torch.inf
        self.members = torch.zeros((GROUPS, self.size), dtype=torch.int32, device=device)
        """Rows of each group; a group that is not full repeats some of its rows."""
        self._used = 0
        self._take(points, _leaves(points, self.size))

    def add(self, factors: Tensor, first: int, count: int) -> "RowGroups":
        """The groups after rows from `first` on have joined, `count` rows in all: these groups grown, or new ones."""
        points = factors[first:count, : self._dimensions].float().cpu().numpy()
        leaves = _leaves(points, self.size)
        if self._used + len(leaves) > GROUPS:
            return RowGroups(factors, count, self._dimensions)
        self._take(points, leaves, first)
        return self

    def _take(self, points: Floats, leaves: list[Indices], first: int = 0) -> None:
        """`points` are -2 times the rows' points."""
        if not leaves:
            return
        members = np.stack([np.resize(leaf, self.size) if len(leaf) < self.size else leaf for leaf in leaves])
        centres = np.stack([points[leaf].mean(0) for leaf in leaves])
        part = slice(self._used, self._used + len(leaves))
        device = self.centres.device
        self.centres[part, : self._dimensions] = torch.from_numpy(centres).to(device, torch.float16)
        sq_norms = np.einsum("gk,gk->g", centres, centres) / 4
        self.centres[part, self._dimensions] = torch.from_numpy(sq_norms).to(device, torch.float16)
        self.members[part] = torch.from_numpy(members + first).to(device, torch.int32)
        self._used += len(leaves)


def _leaves(points: Floats, size: int) -> list[Indices]:
    """Rows by leaf, halved along the dimension in which they differ most; all leaves but one have `size` rows."""
    leaves, waiting = [], [np.arange(len(points))]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= size:
            if len(rows):
                leaves.append(rows)
            continue
        half = -(-len(rows) // size) // 2 * size
        along = points[rows, points[rows].var(0).argmax()]
        order = np.argpartition(along, half)
        waiting += [rows[order[:half]], rows[order[half:]]]
    return leaves
