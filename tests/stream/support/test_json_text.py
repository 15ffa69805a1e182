"""JSON of others: a value, or one kind of error, whatever is in it."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.support.json_text import decode_json

DEEP = {
    "lists": b"[" * 100_000 + b"]" * 100_000,
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "no end": b'{"a":' * 100_000,
}


class Open(msgspec.Struct):
    """A message that may have fields which this release does not know."""

    number: int = 0


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("kind", [object, dict[str, Any], dict[str, msgspec.Raw], Open], ids=str)
def test_deep_json_is_refused_in_words(text: bytes, kind: type[object]) -> None:
    """Nesting without end is an error of the text, never one of the interpreter."""
    with pytest.raises(msgspec.DecodeError):
        decode_json(text, kind)
    with pytest.raises(msgspec.DecodeError, match="nested too deep"):
        decode_json(b'{"more":' + DEEP["lists"] + b"}", Open)


def test_a_text_beyond_its_bound_is_not_read() -> None:
    """The message says how long it is, and how long it may be."""
    assert decode_json(b"[1]", list[int], at_most_bytes=3) == [1]
    with pytest.raises(msgspec.DecodeError, match="4 bytes of JSON, expected at most 3"):
        decode_json(b"[1] ", list[int], at_most_bytes=3)


@given(st.binary(max_size=40) | st.text(max_size=20))
def test_any_text_is_a_value_or_one_kind_of_error(text: bytes | str) -> None:
    """Also what is not UTF-8, and half a surrogate pair."""
    with suppress(msgspec.DecodeError):
        decode_json(text, object)


def test_half_a_surrogate_pair_is_refused() -> None:
    """Python holds such texts, and JSON does not."""
    for text in ("\udc80", b'"\xff"'):
        with pytest.raises(msgspec.DecodeError):
            decode_json(text, object)
