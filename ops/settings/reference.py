"""The settings, documented from the models: every key as a row, and an example file that holds every key."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from patchline.ops.settings.keys import ANY_NAME, Key, all_keys, either

EXAMPLE_NAMES = {"recipes": "bottle", "cameras": "line"}
NAMES_WITHIN = {"tokens": "tablet-1", "keys": "line-3"}
"""Names of an example within a section."""
HEADER = """\
# Settings of Patchline, every key. What is commented out is unset; what stands is the default or an example.
# `patchline check FILE` says what is wrong in a file. Relative paths start from the file's own folder.
# Every key can be overridden by an environment variable: PATCHLINE__KAFKA__BOOTSTRAP is kafka.bootstrap.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One key as the documentation shows it."""

    key: str
    kind: str
    default: str
    env: str
    meaning: str


def rows() -> list[Row]:
    """Every key once, in order: a key that several kinds of camera share is one row."""
    shared: dict[str, list[Key]] = {}
    for key in all_keys():
        shared.setdefault(key.dotted, []).append(key)
    variants = {key.variant for key in all_keys() if key.variant}
    return [
        Row(
            dotted,
            either(dict.fromkeys(key.kind for key in keys)),
            _default(keys[0]),
            keys[0].env,
            _meaning(keys, variants),
        )
        for dotted, keys in shared.items()
    ]


def _meaning(keys: list[Key], variants: set[str]) -> str:
    """The description; where only some kinds of camera have the key, or mean something else by it, which ones."""
    by_text: dict[str, list[str]] = {}
    for key in keys:
        by_text.setdefault(key.description, []).append(key.variant)
    if len(by_text) == 1 and (set(next(iter(by_text.values()))) >= variants or not keys[0].variant):
        return keys[0].description
    return " ".join(f"{', '.join(kinds)}: {text}" for text, kinds in by_text.items())


def _default(key: Key) -> str:
    if key.required:
        return "required"
    return "unset" if key.default is None else _yaml(key.default)


def example() -> str:
    """A commented YAML file that holds every key and fits the schema."""
    lines = [HEADER]
    for section, group in groupby(all_keys(), key=lambda key: key.path[0]):
        keys = list(group)
        lines.append(f"{section}:")
        if keys[0].path[1] != ANY_NAME:
            lines += _entries(keys, 1)
        else:
            for variant, below in groupby(keys, key=lambda key: key.variant):
                name = f"{EXAMPLE_NAMES[section]}-{variant}" if variant else EXAMPLE_NAMES[section]
                lines += [f"  {name}:", *_entries(list(below), 2)]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _entries(keys: Iterable[Key], depth: int) -> list[str]:
    pad = "  " * depth
    lines = []
    for section, group in groupby(keys, key=lambda key: key.path[depth] if len(key.path) > depth + 1 else ""):
        below = list(group)
        lines += _entries_by_name(below, section, pad) if section else _plain(below, pad)
    return lines


def _entries_by_name(keys: list[Key], section: str, pad: str) -> list[str]:
    """A section within a section that has names of the user's own: what each may hold, and an example in one line."""
    lines = [f"{pad}# {'.'.join(key.path[-3:])}: {key.description} [{key.kind}]" for key in keys]
    shown = {key.path[-1]: key.example for key in keys if not key.is_path}
    return [*lines, f"{pad}# {section}: {json.dumps({NAMES_WITHIN[section]: shown})}"]


def _plain(keys: Iterable[Key], pad: str) -> list[str]:
    lines = []
    for key in keys:
        # A secret's example stays commented out, or a copy of the example would run with it.
        shown = key.required or key.default is not None or (key.variant == "rtsp" and key.path[-1] == "url")
        lines.append(f"{pad}# {key.description} [{key.kind}]")
        lines.append(f"{pad}{'' if shown else '# '}{key.path[-1]}: {_yaml(_example(key))}")
    return lines


def _example(key: Key) -> object:
    return key.variant if key.path[-1] == "source" else key.example


def _yaml(value: object) -> str:
    if isinstance(value, str):
        plain = value.replace("-", "").replace("_", "").replace(".", "").replace("/", "").isalnum()
        return value if plain and not value.replace(".", "").isdigit() else json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
