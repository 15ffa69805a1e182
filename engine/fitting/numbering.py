"""Numbers for groups that are named by anything."""

from collections.abc import Hashable, Iterable


def numbered(values: Iterable[Hashable]) -> list[int]:
    """The number of each value: equal ones share one, counted from 0 in the order in which they first come."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]
