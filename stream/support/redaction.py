"""How credentials stay out of messages, logs and pages: the one rule of the whole project.

Text of others (an error of a library, a URL from a record) is masked by its form; secrets of this process are masked by
their value as well, which a `Redactor` knows.
"""

import re
from collections.abc import Iterable
from typing import Any

MASK = "***"

_USER_INFO = re.compile(r"(://)[^\s\"'<>]*@")
# Some cameras take the login in the path or the query: rtsp://host/user=admin&password=1234&channel=1
_LOGIN_FIELD = re.compile(
    r"(?P<name>\b(?:user(?:name)?|login|usr|pass(?:word|wd)?|pwd|token|secret|api_?key|auth|access_key)=)[^&\s;,\"'<>]+",
    re.IGNORECASE,
)


def redact_url(url: str) -> str:
    """`rtsp://admin:1234@cam/1?key=x` as `rtsp://***@cam/1?***`: user information and the whole query are masked."""
    address, mark, _ = redact_text(url).partition("?")
    return f"{address}?{MASK}" if mark else address


def redact_text(text: str) -> str:
    """Free text (a log line, an error of a library) with the credentials of every URL in it masked."""
    return _LOGIN_FIELD.sub(rf"\g<name>{MASK}", _USER_INFO.sub(rf"\1{MASK}@", text))


class Redactor:
    """Masks known secrets, by value, and whatever looks like a login in a URL.

    Secrets shorter than `MIN_LENGTH` characters are not searched by value: masking every "1" would ruin every line.
    """

    MIN_LENGTH = 4

    def __init__(self) -> None:
        self._values: list[str] = []

    def know(self, secrets: Iterable[str]) -> None:
        """Mask these from now on, wherever they appear; the longest first, where one contains another."""
        values = {secret for secret in secrets if len(secret) >= self.MIN_LENGTH}
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
