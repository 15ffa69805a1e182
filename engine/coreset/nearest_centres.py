"""What is known of each vector's nearest centre: how far at most, which one, and how many it was compared with.

A vector that is compared late is compared less: its upper bound holds whatever centres come, and while that lies below
what is asked for, nothing else about the vector matters.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from patchline.engine.numerics.rounding import UNIT

CENTRE = torch.iinfo(torch.int32).max
"""Centres are compared with all others: nothing is left to be found of them."""
UNKNOWN = -1
"""In place of a centre's number: rounding does not tell which one is nearest."""


class NearestCentres:
    """12 bytes for each of `total` vectors.

    Attributes:
        upper: float32 (N,), upper bounds of squared distances to the nearest centre; minus infinity for centres.
        centre: int32 (N,), the number of the centre nearer than all others of the first `seen`; or `UNKNOWN`.
        seen: int32 (N,), so many of the first centres the vector was compared with.
    """

    def __init__(self, total: int, device: torch.device) -> None:
        self.upper = torch.full((total,), torch.inf, device=device)
        self.centre = torch.full((total,), UNKNOWN, dtype=torch.int32, device=device)
        self.seen = torch.zeros(total, dtype=torch.int32, device=device)

    def offer(self, rows: slice | Tensor, indices: Tensor, centres: Tensor, sq: Tensor, error: float) -> None:
        """Take distances to some centres in.

        Args:
            rows: which vectors, n of them.
            indices: int64 (p,), into `rows`, in any order.
            centres: int64 or int32 (p,), the number of one centre each. One that was among the first `seen` changes
                nothing.
            sq: float32 (p,), squared distances.
            error: of these, relative to them.
        """
        upper, known_centre = self.upper[rows], self.centre[rows]
        least = torch.full_like(upper, torch.inf).scatter_reduce_(0, indices, sq, "amin")
        close = sq <= least[indices] * (1 + 4 * error)  # whatever their rounding
        indices, centres = indices[close], centres[close].to(torch.int32)
        offered = torch.full_like(known_centre, UNKNOWN).scatter_(0, indices, centres)
        offered[indices[offered[indices] != centres]] = UNKNOWN
        known = (known_centre != UNKNOWN) | torch.isinf(upper)
        nearer, farther = known & (least < upper * (1 - 4 * error)), least > upper * (1 + 4 * error)
        offered = torch.where(nearer | (offered == known_centre), offered, UNKNOWN)
        self.centre[rows] = torch.where(farther, known_centre, offered)
        self.upper[rows] = torch.minimum(upper, least * (1 + error))

    def lower(self, rows: Tensor, sq: Tensor, error: float) -> None:
        """Take in squared distances of vectors, int64 (p,), in any order, to some centres; which, is left open."""
        self.upper.scatter_reduce_(0, rows, sq * (1 + error), "amin")
        self.centre[rows] = UNKNOWN

    def bound(self, rows: slice, sq: Tensor, slack: Tensor) -> None:
        """Take in that the nearest of some centres lies at `sq`, give or take `slack`, float32 (n,) each."""
        upper = self.upper[rows]
        self.centre[rows].masked_fill_(sq - slack <= upper, UNKNOWN)
        torch.minimum(upper, (sq + slack).clamp_(min=0), out=upper)

    def know(self, rows: Tensor, centres: Tensor, sq: Tensor) -> None:
        """Take in the nearest centres of vectors compared with all, and the exact squared distances, float64 (n,)."""
        self.centre[rows] = centres.to(self.centre)
        self.upper[rows] = sq.to(self.upper) * (1 + 2 * UNIT)

    def add(self, rows: Tensor, numbers: slice) -> None:
        """Make vectors, int64 (s,), the centres of these numbers."""
        self.upper[rows] = -torch.inf
        self.centre[rows] = torch.arange(numbers.start, numbers.stop).to(self.centre)
        self.seen[rows] = CENTRE

    def hints(self, rows: Tensor, strides: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The nearest centres of the vectors at `strides`: indices into `rows` and numbers of centres, (p,) each.

        Only centres that a row was not compared with, and of which it does not know.
        """
        nearest, seen, last = self.centre[rows], self.seen[rows], len(self.centre) - 1
        beside = torch.stack([self.centre[(rows + stride).clamp_(0, last)] for stride in strides])  # (strides, n)
        asked = (beside >= seen) & (beside != nearest)
        for one in range(1, len(strides)):
            asked[one] &= (beside[:one] != beside[one]).all(0)
        hints = flat_nonzero(asked)
        return hints % len(rows), beside.view(-1)[hints]

    def highest(self, count: int, parts: Iterator[slice], step: int) -> tuple[Tensor, float]:
        """About the `count` vectors of the largest upper bounds that are no centres, ascending; all others are lower.

        Args:
            count: at least 1.
            parts: of all vectors, to be looked through at a time.
            step: one in so many vectors tells where the bound lies.

        Returns:
            Rows, int64 (r,), and the bound, which is -1 where rows are all that there are.
        """
        sample = self.upper[::step].cpu().numpy()
        rank = len(sample) - max(1, count // step)
        bar = max(-1.0, float(np.partition(sample, rank)[rank])) if rank > 0 else -1.0
        return self.at_least(bar, parts), bar

    def at_least(self, bar: float, parts: Iterator[slice]) -> Tensor:
        """The vectors whose upper bounds are no less than that, int64 (r,) ascending."""
        return torch.cat([flat_nonzero(self.upper[part] >= bar) + part.start for part in parts])


def flat_nonzero(mask: Tensor) -> Tensor:
    """Where a bool tensor is true, int64 (n,), counted through its dimensions."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))  # a hundredth of what torch takes for it
    return mask.view(-1).nonzero()[:, 0]
