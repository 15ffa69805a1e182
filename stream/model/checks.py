"""Bounds that a configuration checks of its numbers."""

from patchline.stream.model.errors import ConfigError

MIB = 1024 * 1024


def at_least(owner: object, low: float, *names: str) -> None:
    """Refuse a field of `owner` that is below `low`.

    Raises:
        ConfigError: names the field, what was found and what was expected.
    """
    for name in names:
        value = getattr(owner, name)
        if not value >= low:
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}, expected at least {low}")


def positive(owner: object, *names: str) -> None:
    """Refuse a field of `owner` that is not above 0.

    Raises:
        ConfigError: names the field, what was found and what was expected.
    """
    for name in names:
        value = getattr(owner, name)
        if not value > 0:
            raise ConfigError(f"{type(owner).__name__}.{name} is {value}, expected more than 0")


def is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8; bytes that are not were read as lone surrogates, which nothing can."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)
