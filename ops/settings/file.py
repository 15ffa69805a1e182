"""From a YAML file and the environment to `Settings`, or to every problem at once, each with its place."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource
from pydantic_settings import SettingsError as EnvironmentParseError

from patchline.ops.errors import Problem, SettingsError
from patchline.ops.settings.keys import all_keys, either, find_keys, siblings
from patchline.ops.settings.locations import is_url
from patchline.ops.settings.model import ENV_DELIMITER, ENV_PREFIX, Settings
from patchline.ops.settings.yaml_lines import Document, KeyPath, read_document
from patchline.stream.support.redaction import redact_text


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of a settings file: the settings where they fit the schema, the merged values, and the problems."""

    document: Document
    settings: Settings | None
    merged: Mapping[str, Any]
    problems: tuple[Problem, ...]

    def place(self, path: KeyPath) -> str:
        """Where a key was set: an environment variable, or a line of the file."""
        return _place(path, self.document)


def load_settings(path: Path) -> Settings:
    """The settings in `path`, with the environment's overrides; raises SettingsError naming all that is wrong."""
    reading = read_settings(path)
    if reading.settings is None or reading.problems:
        raise SettingsError(reading.problems)
    return reading.settings


def read_settings(path: Path) -> Reading:
    """Read and validate; only a file that is no YAML mapping at all raises SettingsError."""
    document = read_document(path)
    _anchor_paths(document.data, (), path.resolve().parent)
    problems = [*document.problems, *_unknown_environment()]
    settings = None
    try:
        settings = Settings(**document.data)
        merged = _merge(document.data, EnvSettingsSource(Settings)())
    except ValidationError as error:
        merged = _merge(document.data, EnvSettingsSource(Settings)())
        problems += [_explain(details, document) for details in error.errors(include_url=False)]
    except EnvironmentParseError as error:
        merged = document.data
        problems += _not_json() or [Problem("environment", "", redact_text(str(error)), "variables that can be read")]
    return Reading(document, settings, merged, tuple(problems))


def _anchor_paths(data: dict[str, Any], path: KeyPath, folder: Path) -> None:
    """Relative paths in a settings file are relative to the file, wherever the process was started."""
    for name, value in data.items():
        here = (*path, name)
        if isinstance(value, dict):
            _anchor_paths(value, here, folder)
        elif isinstance(value, str) and _is_local(value) and any(key.is_path for key in find_keys(here)):
            data[name] = str(folder / Path(value).expanduser())


def _is_local(value: str) -> bool:
    return value not in ("", "-") and not is_url(value)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(old, value) if both else value  # type: ignore[arg-type]  # `both` says so
    return merged


def _environment_names() -> dict[KeyPath, str]:
    """Path of every PATCHLINE__ variable (in lower case) and the variable's own name."""
    return {
        tuple(name[len(ENV_PREFIX) :].lower().split(ENV_DELIMITER)): name
        for name in os.environ
        if name.upper().startswith(ENV_PREFIX)
    }


def _unknown_environment() -> list[Problem]:
    """Variables whose first part is no section: pydantic-settings would pass over them without a word."""
    sections = {key.path[0] for key in all_keys()}
    return [
        Problem(f"environment {name}", path[0], "unknown key", suggestion((path[0],)))
        for path, name in sorted(_environment_names().items())
        if path[0] not in sections
    ]


def _not_json() -> list[Problem]:
    """Variables that set a list or a whole section, and are not written as JSON."""
    problems = []
    for path, name in sorted(_environment_names().items()):
        keys = find_keys(path)
        section = not keys and any(key.path[: len(path)] == path for key in all_keys())
        if section or any(key.kind.startswith("list") for key in keys):
            try:
                msgspec.json.decode(os.environ[name])
            except msgspec.DecodeError:
                expected = "JSON, or one variable a key" if section else 'a JSON list such as ["a", "b"]'
                problems.append(Problem(f"environment {name}", ".".join(path), "not JSON", expected))
    return problems


def suggestion(path: KeyPath) -> str:
    """What an unknown key may have meant: a near name in its section, the same name elsewhere, or what there is."""
    here = siblings(path)
    near = difflib.get_close_matches(path[-1], here, n=1, cutoff=0.6)
    if near:
        return f"a known key: did you mean '{near[0]}'?"
    elsewhere = [key.dotted for key in all_keys() if key.path[-1] == path[-1]]
    if elsewhere:
        return f"a known key: did you mean '{elsewhere[0]}'?"
    return f"{either(here)}" if here else "no key here"


def _key_path(details: ErrorDetails) -> KeyPath:
    """pydantic's location without the tag that it adds for the kind of a camera, and without its `[key]`."""
    parts = [str(part) for part in details["loc"] if part != "[key]"]
    if len(parts) > 2 and parts[0] == "cameras" and parts[2] in {key.variant for key in all_keys() if key.variant}:
        del parts[2]
    return tuple(parts)


def _explain(details: ErrorDetails, document: Document) -> Problem:
    path = _key_path(details)
    kind, context = details["type"], details.get("ctx", {})
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        path = (*path, "source")
    place = _place(path, document)
    keys = find_keys(path)
    hidden = any(key.is_secret for key in keys)
    expected = either(dict.fromkeys(key.kind for key in keys)) if keys else "keys and values"
    found = _found(details["input"], hidden)
    if kind == "extra_forbidden":
        found, expected = "unknown key", suggestion(path)
    elif kind == "missing":
        found = "missing"
    elif kind == "union_tag_not_found":
        found, expected = "missing", _sources()
    elif kind == "union_tag_invalid":
        tag = str(context.get("tag"))
        near = difflib.get_close_matches(tag, _source_names(), n=1)
        found, expected = f"'{tag}'", _sources() + (f": did you mean '{near[0]}'?" if near else "")
    elif kind == "value_error":
        found = (
            _found(details["input"], hidden) if not isinstance(details["input"], Mapping) else "keys that do not fit"
        )
        expected = redact_text(str(context["error"]))
    elif kind == "too_short" and hidden:
        found, expected = "a shorter text", f"{context['min_length']} characters or more"
    elif kind == "too_short":
        found, expected = "empty", "at least one entry"
    elif kind == "literal_error":
        near = difflib.get_close_matches(str(details["input"]), expected.replace(" or ", ", ").split(", "), n=1)
        expected += f": did you mean '{near[0]}'?" if near else ""
    return Problem(place, ".".join(path), found, expected)


def _place(path: KeyPath, document: Document) -> str:
    name = _environment_names().get(tuple(part.lower() for part in path))
    return f"environment {name}" if name else document.place(path)


def _source_names() -> list[str]:
    return list(dict.fromkeys(key.variant for key in all_keys() if key.variant))


def _sources() -> str:
    return either(_source_names())


def _found(value: Any, hidden: bool) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a section with keys"
    if isinstance(value, (list, tuple)):
        return "a list"
    if hidden:
        return {bool: "a truth value", int: "a number (put it in quotes)"}.get(type(value), "a value that is not shown")
    if isinstance(value, str):
        return redact_text(repr(value if len(value) <= 80 else value[:77] + "..."))
    return str(value).lower() if isinstance(value, bool) else str(value)
