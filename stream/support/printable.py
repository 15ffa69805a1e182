"""How names and messages of others are shown: the one rule for terminals, tables and log lines.

A name may hold escape sequences that colour, move or clear a terminal, newlines that forge a line, and marks that turn
the direction of writing. Each such character is written as JSON writes it: `\\n`, `\\u001b`.
"""

import re

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# C0, DEL and C1 controls, soft hyphen, marks of direction, zero widths but joiners (which scripts and emoji need),
# separators of lines and paragraphs, invisible operators, byte order marks, lone surrogates, tags.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_LINES = re.compile(f"(?!\n)[{_UNSEEN}]")
_IN_ONE_LINE = re.compile(f"[{_UNSEEN}]")


def one_line(text: str) -> str:
    """A text on one line, every character of which is seen."""
    return text if text.isascii() and text.isprintable() else _IN_ONE_LINE.sub(_escaped, text)


def several_lines(text: str) -> str:
    """The same of a text that has lines: newlines stay."""
    return _IN_LINES.sub(_escaped, text)


def _escaped(found: "re.Match[str]") -> str:
    character = found[0]
    if character in _SHORT:
        return _SHORT[character]
    return "".join(
        f"\\u{unit:04x}"
        for pair in [character.encode("utf-16-be", "surrogatepass")]
        for unit in (int.from_bytes(pair[i : i + 2], "big") for i in range(0, len(pair), 2))
    )
