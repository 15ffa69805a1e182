"""Of each vector, what is known of its nearest centre: how far at most, which one, and how many it was compared with.

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
OPEN = -1
"""A place: rounding does not tell which centre is nearest."""


class NearestCentres:
    """12 bytes for each of `total` vectors.

    Attributes:
        upper: float32 (N,), upper bounds of squared distances to the nearest centre; minus infinity for centres.
        place: int32 (N,), the place of a centre nearer than all others of the first `seen`; or `OPEN`.
        seen: int32 (N,), so many of the first centres the vector was compared with.
    """

    def __init__(self, total: int, device: torch.device) -> None:
        self.upper = torch.full((total,), torch.inf, device=device)
        self.place = torch.full((total,), OPEN, dtype=torch.int32, device=device)
        self.seen = torch.zeros(total, dtype=torch.int32, device=device)

    def offer(self, rows: slice | Tensor, at: Tensor, places: Tensor, sq: Tensor, error: float) -> None:
        """Take distances to some centres in.

        Args:
            rows: which vectors, n of them.
            at: int64 (p,), places among `rows`, in any order.
            places: int64 or int32 (p,), of one centre each. One that was among the first `seen` changes nothing.
            sq: float32 (p,), squared distances.
            error: of these, relative to them.
        """
        upper, place = self.upper[rows], self.place[rows]
        least = torch.full_like(upper, torch.inf).scatter_reduce_(0, at, sq, "amin")
        close = sq <= least[at] * (1 + 4 * error)  # whatever their rounding
        at, places = at[close], places[close].to(torch.int32)
        found = torch.full_like(place, OPEN).scatter_(0, at, places)
        found[at[found[at] != places]] = OPEN
        known = (place != OPEN) | torch.isinf(upper)
        nearer, farther = known & (least < upper * (1 - 4 * error)), least > upper * (1 + 4 * error)
        found = torch.where(nearer | (found == place), found, OPEN)
        self.place[rows] = torch.where(farther, place, found)
        self.upper[rows] = torch.minimum(upper, least * (1 + error))

    def lower(self, rows: Tensor, sq: Tensor, error: float) -> None:
        """Take in squared distances of vectors, int64 (p,), in any order, to some centres; which, is left open."""
        self.upper.scatter_reduce_(0, rows, sq * (1 + error), "amin")
        self.place[rows] = OPEN

    def bound(self, rows: slice, sq: Tensor, slack: Tensor) -> None:
        """Take in that the nearest of some centres lies at `sq`, give or take `slack`, float32 (n,) each."""
        upper = self.upper[rows]
        self.place[rows].masked_fill_(sq - slack <= upper, OPEN)
        torch.minimum(upper, (sq + slack).clamp_(min=0), out=upper)

    def know(self, rows: Tensor, places: Tensor, sq: Tensor) -> None:
        """Take in the nearest centres of vectors compared with all, and the exact squared distances, float64 (n,)."""
        self.place[rows] = places.to(self.place)
        self.upper[rows] = sq.to(self.upper) * (1 + 2 * UNIT)

    def add(self, centres: Tensor, places: slice) -> None:
        """Make vectors, int64 (s,), the centres of these places."""
        self.upper[centres] = -torch.inf
        self.place[centres] = torch.arange(places.start, places.stop).to(self.place)
        self.seen[centres] = CENTRE

    def hints(self, rows: Tensor, strides: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The nearest centres of the vectors at `strides`: places among `rows`, int64 (n,), and of centres, (p,).

        Only centres that a row was not compared with, and of which it does not know.
        """
        place, seen, last = self.place[rows], self.seen[rows], len(self.place) - 1
        beside = torch.stack([self.place[(rows + stride).clamp_(0, last)] for stride in strides])  # (strides, n)
        asked = (beside >= seen) & (beside != place)
        for one in range(1, len(strides)):
            asked[one] &= (beside[:one] != beside[one]).all(0)
        at = flat_nonzero(asked)
        return at % len(rows), beside.view(-1)[at]

    def highest(self, count: int, parts: Iterator[slice], step: int) -> tuple[Tensor, float]:
        """About the `count` vectors of the largest upper bounds that are no centres, ascending; all others are lower.

        Args:
            count: at least 1.
            parts: of all vectors, to be looked through at a time.
            step: one in so many vectors tells where the bound lies.

        Returns:
            Rows, int64 (r,), and the bound, which is -1 where rows are all that there are.
        """
        some = self.upper[::step].cpu().numpy()
        rank = len(some) - max(1, count // step)
        bar = max(-1.0, float(np.partition(some, rank)[rank])) if rank > 0 else -1.0
        return self.at_least(bar, parts), bar

    def at_least(self, bar: float, parts: Iterator[slice]) -> Tensor:
        """The vectors whose upper bounds are no less than that, int64 (r,) ascending."""
        return torch.cat([flat_nonzero(self.upper[part] >= bar) + part.start for part in parts])


def flat_nonzero(mask: Tensor) -> Tensor:
    """Where a bool tensor is true, int64 (n,), counted through its dimensions."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))  # a hundredth of what torch takes for it
    return mask.view(-1).nonzero()[:, 0]
