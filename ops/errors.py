"""Errors of the outermost layer. The command line prints their text and exits with their `exit_code`: no traceback.

::

    OpsError                 a run-time failure (1)
    └── InputError           the user's input is at fault (2): a file, a key, an option
        └── SettingsError    one or more problems in the settings, each with its place
"""

from collections.abc import Sequence
from dataclasses import dataclass


class OpsError(Exception):
    """A failure that a person must read: one clear message."""

    exit_code = 1


class InputError(OpsError):
    """What the user gave cannot be used; the message names it, what was found and what was expected."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the settings. `place` is `FILE:LINE`, an environment variable, or the file alone."""

    place: str
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        subject = f"{self.place}: {self.key}: " if self.key else f"{self.place}: "
        return f"{subject}{self.found}; expected {self.expected}"


class SettingsError(InputError):
    """The settings cannot be used; `problems` lists every reason that could be found at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
