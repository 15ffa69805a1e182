"""TODO docstring."""

from patchline.stream.model.errors import ConfigError

MIB = 1024 * 1024


def at_least(owner: object, low: float, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not value >= low:
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}, expected at least {low}")


def positive(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not value > 0:
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}, expected more than 0")
