"""Work in steps: a generator that yields where other work may have the thread, and returns its result at the end."""

from collections.abc import Generator
from typing import TypeVar

Outcome = TypeVar("Outcome")


def finish(work: Generator[None, None, Outcome]) -> Outcome:
    """Run all steps without a pause, and return the result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Outcome = end.value
            return result
