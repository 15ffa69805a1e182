"""One figure of the chaos suite: what was measured, beside its goal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A figure as it is printed. `measured` and `goal` are written for people; `met` is what tests look at."""

    name: str
    measured: str
    goal: str
    met: bool

    def __str__(self) -> str:
        return f"{'met   ' if self.met else 'MISSED'}  {self.name}: {self.measured} (goal: {self.goal})"


Measure: TypeAlias = Callable[[Any], list[Measured]]
"""`measure(sizes)` of a figure's module: starts what it needs, stops it, and returns what it measured.

The module also has `SHORT` and `LONG`, the sizes for the test suite and for `make chaos`.
"""
