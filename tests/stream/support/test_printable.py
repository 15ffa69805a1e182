"""What others named reaches no terminal as anything but text."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.support.printable import one_line, several_lines


def test_controls_are_written_as_json_writes_them() -> None:
    """Escape sequences, newlines, C1, marks of direction, lone surrogates, tags."""
    text = "line-1\x1b[2J\r\n\t\x9b31m\u202eevil\u2028\udc80\U000e0041\x7f\ufeff"
    shown = "line-1\\u001b[2J\\r\\n\\t\\u009b31m\\u202eevil\\u2028\\udc80\\udb40\\udc41\\u007f\\ufeff"
    assert one_line(text) == shown
    assert several_lines("a\x1b\nb\x00") == "a\\u001b\nb\\u0000"


def test_what_people_write_stays() -> None:
    """Letters of every script, and the joiners that some of them and emoji need."""
    for text in ("", "Kamera Süd 3", "\u06a9\u200c\u0645", "\U0001f468\u200d\U0001f469", "camera [red]:key:", "a\\nb"):
        assert one_line(text) == several_lines(text) == text


@given(st.text())
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    """No control, no separator of lines, no mark of direction, no half of a pair."""
    shown = one_line(text)
    assert not any(unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cs") for letter in shown)
    assert not any(unicodedata.bidirectional(letter) in _DIRECTIONS for letter in shown)
    assert several_lines(text).split("\n") == [one_line(line) for line in text.split("\n")]


_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_stays_the_same_json(text: str) -> None:
    """What is escaped stands in strings only, in JSON's own way."""
    assert json.loads(one_line(json.dumps([text], ensure_ascii=False))) == [text]
