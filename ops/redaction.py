"""Keeping credentials out of logs, errors, pages and `repr`: a secret URL type and a scrubber for free text."""

import re
from typing import Any
from urllib.parse import unquote

from pydantic import SecretStr

MASK = "***"

_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)[^\s\"'<>]*@")
# Some cameras take the login in the path or the query: rtsp://host/user=admin&password=1234&channel=1
_LOGIN_FIELD = re.compile(
    r"(?P<name>\b(?:user(?:name)?|login|usr|pass(?:word|wd)?|pwd|token|secret|api_?key|auth|access_key)=)[^&\s;,\"'<>]+",
    re.IGNORECASE,
)


def redact_url(url: str) -> str:
    """`rtsp://admin:1234@cam/1?key=x` as `rtsp://***@cam/1?***`: user information and the whole query are masked."""
    hidden = redact_text(url)
    base, mark, _ = hidden.partition("?")
    return f"{base}?{MASK}" if mark else hidden


def redact_text(text: str) -> str:
    """Free text (a log line, an error of a library) with the credentials of every URL in it masked."""
    return _LOGIN_FIELD.sub(rf"\g<name>{MASK}", _USER_INFO.sub(rf"\g<scheme>{MASK}@", text))


class SecretUrl(SecretStr):
    """A URL that may carry credentials: it prints without them, `get_secret_value()` returns all of it."""

    def _display(self) -> str:
        return redact_url(self.get_secret_value())

    def __repr__(self) -> str:
        return f"SecretUrl({self._display()!r})"


def secret_values(url_or_secret: SecretStr) -> list[str]:
    """The parts of a secret that must never be seen: a plain secret itself; of a URL its login and its query."""
    value = url_or_secret.get_secret_value()
    if not isinstance(url_or_secret, SecretUrl):
        return [value]
    login = value.partition("://")[2].rpartition("@")[0]
    password = login.partition(":")[2]
    query = value.partition("?")[2]
    return [part for part in (query, login, password, unquote(password)) if part]


class Redactor:
    """Masks known secrets, by value, and whatever looks like a login in a URL; a structlog processor and a function.

    Secrets shorter than `MIN_LENGTH` characters are not searched by value: masking every "1" would ruin every line.
    """

    MIN_LENGTH = 4

    def __init__(self) -> None:
        self._values: list[str] = []

    def know(self, secrets: list[SecretStr]) -> None:
        """Mask these from now on, wherever they appear."""
        values = {part for secret in secrets for part in secret_values(secret) if len(part) >= self.MIN_LENGTH}
        self._values = sorted({*self._values, *values}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` without secrets."""
        for value in self._values:
            text = text.replace(value, MASK)
        return redact_text(text)

    def value(self, value: Any) -> Any:
        """A log value without secrets: strings and containers of them; other objects by their `str` if it changes."""
        if isinstance(value, str):
            return self.text(value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item) for item in value]
        plain = str(value)
        hidden = self.text(plain)
        return value if hidden == plain else hidden
