"""Failures that nobody would hear of, handed to whoever should."""

from collections.abc import Callable
from typing import Self


class Failures:
    """A context that hands what is raised inside to `told`: callbacks of others, who would only log it."""

    def __init__(self, told: Callable[[Exception], None]) -> None:
        self._told = told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            self._told(error)
            return True
        return False
