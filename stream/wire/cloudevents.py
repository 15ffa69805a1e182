"""CloudEvents 1.0 in Kafka's binary content mode: attributes in headers, the datum as the record's value.

The headers of each kind of record are listed with examples in `stream/wire/README.md`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes]]
Record: TypeAlias = tuple[bytes, bytes, list[tuple[str, bytes]]]
"""Key, value, headers."""


def attributes_of(headers: Headers, flaws: list[str]) -> dict[str, str]:
    """Headers as text; the first of a name counts."""
    attributes: dict[str, str] = {}
    for name, value in headers:
        if not name.startswith("ce_") and name != "content-type":
            continue
        try:
            text = (value or b"").decode("utf-8")
        except UnicodeDecodeError:
            flaws.append(f"the header {name} is not UTF-8")
            continue
        attributes.setdefault(name, text)
    return attributes


def encode_attributes(attributes: Mapping[str, str | None]) -> list[tuple[str, bytes]]:
    """Attributes as a record's headers; those that are None are left out."""
    return [(name, value.encode("utf-8", "replace")) for name, value in attributes.items() if value is not None]


def rfc3339(time: datetime) -> str:
    """An aware time in UTC, as CloudEvents write it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
