"""Mutants that may survive: `accepted.toml` has the line's text and the change, which edits elsewhere leave alone."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.place import Place

LIST = Path(__file__).with_name("accepted.toml")
_KEYS = {"module": str, "function": str, "line": str, "change": str, "equivalent": bool, "why": str}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A mutant that may survive. `equivalent`: it does what the module does, so it is not tried and not counted."""

    module: Path
    function: str
    line: str
    change: str
    equivalent: bool
    why: str

    def matches(self, module: Path, place: Place) -> bool:
        """Whether this is the mutant at a place."""
        return (self.module, self.function, self.line, self.change) == (
            module,
            place.function,
            place.text,
            place.change,
        )


def accepted(path: Path = LIST) -> list[Accepted]:
    """What the list says.

    Raises:
        ValueError: an entry lacks a key, has one too many, or says nothing of why.
    """
    entries = []
    for number, found in enumerate(tomllib.loads(path.read_text()).get("accepted", []), start=1):
        wrong = set(found) ^ set(_KEYS) or {key for key, kind in _KEYS.items() if type(found[key]) is not kind}
        if wrong or not found["why"].strip():
            named = ", ".join(sorted(wrong)) or "why"
            raise ValueError(f"{path.name}: entry {number}: wrong or missing: {named}; expected {', '.join(_KEYS)}")
        entries.append(Accepted(Path(found.pop("module")), **found))
    return entries


def entry(module: Path, place: Place) -> str:
    """A mutant as an entry of the list, its reason left to be written."""
    quoted = {"module": str(module), "function": place.function, "line": place.text, "change": place.change}
    lines = [f"{key} = {_quoted(value)}" for key, value in quoted.items()]
    return "\n".join(["[[accepted]]", *lines, "equivalent = false", 'why = ""'])


def _quoted(text: str) -> str:
    if "'" not in text:
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
