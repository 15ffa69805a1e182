"""JSON that others wrote, read within bounds: whatever is in it, reading ends in a value or in one kind of error."""

from typing import TypeVar

import msgspec

MAX_JSON_BYTES = 1 << 30
"""What is read where the caller knows no tighter bound."""
Wanted = TypeVar("Wanted")


def decode_json(content: bytes | str, kind: type[Wanted], *, at_most_bytes: int = MAX_JSON_BYTES) -> Wanted:
    """The value in a JSON text. msgspec raises four kinds of error for what it cannot read; this raises one.

    Args:
        content: the text.
        kind: what it should be.
        at_most_bytes: a longer text is refused unread.

    Raises:
        msgspec.DecodeError: it is too long, no JSON, not UTF-8, nested without end, or none of the kind; the message
            says which, and holds no more of the text than names of fields.
    """
    if len(content) > at_most_bytes:
        raise msgspec.DecodeError(f"{len(content):,} bytes of JSON, expected at most {at_most_bytes:,}")
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError as error:
        raise msgspec.DecodeError("lists or objects are nested too deep to be read") from error
    except UnicodeError as error:
        raise msgspec.DecodeError(f"not UTF-8: {error}"[:200]) from error
