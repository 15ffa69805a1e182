"""How credentials stay out of messages, logs and pages: the one rule of the whole project.

Text of others (an error of a library, a URL from a record) is masked by its form; secrets of this process are masked by
their value as well, which a `Redactor` knows. Where the end of a secret cannot be told, because passwords may have
quotes, blanks, angle brackets, slashes and @ in them, too much is masked rather than too little:

- from `://` to the last `@` of the line, whatever stands between;
- the value of a field that names a login or a key (`password=`), behind a `://` to the next `&` or the end of the line.

A message therefore says what it has to say before a URL, or has the URL masked as such (`redact_url`), whose ends are
known: what is masked already stays as it is. All of it takes time that is linear in the text.

What is too long is shortened here as well, and nowhere else, because only a text that is masked may be cut.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeAlias
from urllib.parse import unquote

MASK = "***"
LONGEST_CHARACTERS = 8_192
"""A longer text is shortened in its middle, where nobody asks for another length."""
LONGEST_READ_CHARACTERS = 65_536
"""Of a longer text the rest is not even looked at."""
MOST_ENTRIES = 64
"""Of a longer list or mapping the rest is only counted."""
_DEEPEST = 8
_Container: TypeAlias = dict[Any, Any] | list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any]

_MASKED_LOGIN = f"{MASK}@"
# Some cameras take the login in the path or the query: rtsp://host/user=admin&password=1234&channel=1
_NAME = (
    r"(?P<name>(?:user(?:name)?|login|usr|pass(?:word|wd|phrase)?|pwd|token|secret|api_?key|access_?key(?:_?id)?|auth"
    r"|credential|signature|\bsig)=)(?!\*\*\*(?:$|[&\s;,:.)\"'<>?]))"
)
_FIELD_IN_TEXT = re.compile(rf"{_NAME}[^&\s;,\"'<>]+", re.IGNORECASE)
_FIELD_IN_URL = re.compile(rf"{_NAME}(?P<value>[^&]+)", re.IGNORECASE)
_MASKED_FIELD = rf"\g<name>{MASK}"


def redact_url(url: str) -> str:
    """`rtsp://admin:1234@cam/1?key=x` as `rtsp://***@cam/1?***`: user information and the whole query are masked."""
    address, mark, _ = _redact_line(url).partition("?")
    return f"{address}?{MASK}" if mark else address


def secrets_of_url(url: str) -> list[str]:
    """What `redact_url` masks of a URL: its query, its login, and passwords as written and as meant."""
    login = url.partition("://")[2].rpartition("@")[0]
    found = [url.partition("?")[2], login, login.partition(":")[2]]
    for field in _FIELD_IN_URL.finditer(url):
        if not field["name"].lower().startswith(("user", "usr", "login")):  # known to many, and in many words
            found.append(field["value"])
    return [part for part in dict.fromkeys((*found, *map(unquote, found[2:]))) if part]


def redact_text(text: str) -> str:
    """Free text (a log line, an error of a library) with the credentials of every URL in it masked, and not too long.

    Beyond `LONGEST_CHARACTERS` its middle is left out, once all of it has been masked: half a secret is not known for
    one.
    """
    return _shortened(_masked(text, ()), LONGEST_CHARACTERS)


def _masked(text: str, known: Sequence[str]) -> str:
    """A text without secrets; those that are known by value are given, the longest first."""
    cut = len(text) > LONGEST_READ_CHARACTERS
    text = text[:LONGEST_READ_CHARACTERS]
    for value in known:
        text = text.replace(value, MASK)
    if cut and known:  # one may have been cut in two
        text = text[: -len(known[0])]
    lines = text.split("\n")
    if cut:  # the @ that ends a login may be behind the cut
        lines[-1] = lines[-1].partition("://")[0]
    return "\n".join(map(_redact_line, lines))


def _redact_line(line: str) -> str:
    first = line.find("://")
    if first < 0:
        return _fields_masked(_FIELD_IN_TEXT, line)
    begin = first + 3
    while line.startswith(_MASKED_LOGIN, begin):
        following = line.find("://", begin)
        if following < 0:  # every login of the line is masked
            return _fields_masked(_FIELD_IN_TEXT, line[:first]) + _fields_masked(_FIELD_IN_URL, line[first:])
        begin = following + 3
    end = line.rfind("@", begin)
    before = _fields_masked(_FIELD_IN_TEXT, line[:first]) + _fields_masked(_FIELD_IN_URL, line[first:begin])
    if end < 0:
        return before + _fields_masked(_FIELD_IN_URL, line[begin:])
    before += _MASKED_LOGIN
    for field in _FIELD_IN_URL.finditer(line, begin) if "=" in line else ():
        if field.start() < end + 1 < field.end():  # the @ is a part of it
            before, end = before + MASK, field.end() - 1
    return before + _fields_masked(_FIELD_IN_URL, line[end + 1 :])


def _fields_masked(field: re.Pattern[str], text: str) -> str:
    return field.sub(_MASKED_FIELD, text) if "=" in text else text


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ... {len(text) - 2 * half:,} characters or more left out ... {text[-half:]}"


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

    def text(self, text: str, most: int = LONGEST_CHARACTERS) -> str:
        """`text` without secrets, and of about `most` characters at most: see `redact_text`."""
        return _shortened(_masked(text, self._values), most)

    def value(self, value: Any, most: int = LONGEST_CHARACTERS) -> Any:
        """A log value without secrets, and bounded.

        Strings and containers of them, each text of about `most` characters at most; other objects by their `str` if it
        changes.
        """
        return self._value(value, most, 0)

    def _value(self, value: Any, most: int, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value, most)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, (dict, list, tuple, set, frozenset)):
            return self._entries(value, most, depth + 1)
        plain = str(value)
        hidden = self.text(plain, most)
        return value if hidden == plain else hidden

    def _entries(self, value: _Container, most: int, depth: int) -> Any:
        if depth > _DEEPEST:
            return f"{type(value).__name__} of {len(value):,}"
        more = len(value) - MOST_ENTRIES
        if isinstance(value, dict):
            shown = islice(value.items(), MOST_ENTRIES)
            entries = {self._value(key, most, depth): self._value(item, most, depth) for key, item in shown}
            return entries | ({"...": f"{more:,} more"} if more > 0 else {})
        items = [self._value(item, most, depth) for item in islice(value, MOST_ENTRIES)]
        return [*items, f"... {more:,} more"] if more > 0 else items
