"""Runs: which frames of a batch one core takes together.

What frames share, such as the reading of a network's largest weights, then costs each of them a part only.
"""

from collections.abc import Hashable, Sequence
from typing import TypeVar

Part = TypeVar("Part")
LENGTHS = (1, 2, 4)
"""How many items a run may have: few lengths, as each has preparations of its own. With four, what they share costs
each a quarter, and the last run of a batch does not leave other cores idle for long.
"""


def runs_of(kinds: Sequence[Hashable], count: int) -> list[list[int]]:
    """Which items a core takes together, as their positions: the longest runs first, so that cores end together.

    The items of a kind are dealt to the cores evenly, and a core takes its own in the longest runs that they fill.

    Args:
        kinds: of each item.
        count: how many cores there are.
    """
    of_kind: dict[Hashable, list[int]] = {}
    for position, kind in enumerate(kinds):
        of_kind.setdefault(kind, []).append(position)
    runs: list[list[int]] = []
    for positions in of_kind.values():
        for core in range(count):
            start, end = (len(positions) * number // count for number in (core, core + 1))
            while start < end:
                length = max(length for length in LENGTHS if length <= end - start)
                runs.append(positions[start : start + length])
                start += length
    return sorted(runs, key=len, reverse=True)


def in_order(runs: Sequence[Sequence[int]], results: Sequence[Sequence[Part]]) -> list[Part]:
    """The results of runs in the order of their items."""
    by_position: dict[int, Part] = {}
    for run, of_run in zip(runs, results, strict=True):
        by_position.update(zip(run, of_run, strict=True))
    return [by_position[position] for position in range(len(by_position))]
