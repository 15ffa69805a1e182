"""Interleaved timing: what else the machine does meanwhile falls on both sides alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeAlias

Timed: TypeAlias = Callable[[], float]
"""Does the work once and returns the seconds that it took."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds of each repeat, pairwise in time."""

    ours: Sequence[float]
    peer: Sequence[float]

    @property
    def ours_s(self) -> float:
        """Median of ours."""
        return median(self.ours)

    @property
    def peer_s(self) -> float:
        """Median of the peer's."""
        return median(self.peer)

    @property
    def ratio(self) -> float:
        """How many times faster ours is: the median over pairs."""
        return median(self._ratios())

    @property
    def spread(self) -> tuple[float, float]:
        """Quartiles of the ratio over pairs."""
        ratios = self._ratios()
        if len(ratios) == 1:
            return ratios[0], ratios[0]
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        return low, high

    def _ratios(self) -> list[float]:
        return [p / o for o, p in zip(self.ours, self.peer, strict=True)]


def timed(work: Callable[[], object]) -> Timed:
    """`work` as something that returns its seconds."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def compare(ours: Timed, peer: Timed, *, repeats: int = 5, warm_up: bool = True) -> Comparison:
    """Run both sides in turn, `repeats` times each; which goes first alternates."""
    if warm_up:
        ours()
        peer()
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        for side in (0, 1) if repeat % 2 == 0 else (1, 0):
            seconds[side].append((ours, peer)[side]())
    return Comparison(*seconds)


def fastest(candidates: dict[str, Timed], *, repeats: int = 2, warm_up: bool = True) -> tuple[str, Timed]:
    """The candidate with the least time: a peer runs at its best batch and thread count."""
    best: dict[str, float] = {}
    for name, run in candidates.items():
        if warm_up:
            run()
        best[name] = min(run() for _ in range(repeats))
    name = min(best, key=lambda key: best[key])
    return name, candidates[name]
