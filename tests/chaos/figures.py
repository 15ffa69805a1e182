"""The figures by name. Each is a module of this package with `measure(sizes)`, `SHORT` and `LONG`."""

import importlib
from types import ModuleType

FIGURES = (
    *("faults", "mutations", "overload", "redis_away", "rolling_restart", "updates"),
    *("bombs", "connections", "freshness", "hostile", "names", "positions", "redis_troubles", "sigterm", "watchdog"),
    "camera_feeds",
)

SHOWN_ELSEWHERE = frozenset({"bombs", "camera_feeds", "connections", "names", "watchdog"})
"""What quick tests of their rooms show as well: the suite leaves these figures to `make chaos`."""


def load(name: str) -> ModuleType:
    """A figure's module, imported only when it is measured."""
    return importlib.import_module(f"tests.chaos.{name}")
