"""Every key of the settings, listed from the models: for the documentation, the example and error messages."""

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from patchline.ops.settings.locations import PathOrUrl
from patchline.ops.settings.model import ENV_DELIMITER, ENV_PREFIX, Settings
from patchline.ops.settings.secrets import SecretUrl
from patchline.ops.settings.yaml_lines import KeyPath

ANY_NAME = "<name>"


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its path (`<name>` where any name may stand), type in words, default, and what it means."""

    path: KeyPath
    kind: str
    required: bool
    default: Any
    description: str
    example: Any
    is_secret: bool
    is_path: bool
    variant: str = ""
    """The `source` of the camera that has this key, where only some have it."""

    @property
    def dotted(self) -> str:
        """`cameras.<name>.url`."""
        return ".".join(self.path)

    @property
    def env(self) -> str:
        """The environment variable that overrides it."""
        return ENV_PREFIX + ENV_DELIMITER.join("<NAME>" if part == ANY_NAME else part.upper() for part in self.path)


@cache
def all_keys() -> tuple[Key, ...]:
    """Every key that can be set, in the order of the models."""
    return tuple(_keys_of(Settings, (), ""))


def find_keys(path: KeyPath) -> list[Key]:
    """The keys that a concrete path (`cameras.line-1.url`) means; several where camera kinds share it."""
    return [key for key in all_keys() if matches(key.path, path)]


def matches(pattern: KeyPath, path: KeyPath) -> bool:
    """Whether `path` is `pattern` with names for `<name>`."""
    return len(pattern) == len(path) and all(p in (ANY_NAME, q) for p, q in zip(pattern, path, strict=True))


def siblings(path: KeyPath) -> list[str]:
    """The keys that may stand where the last part of `path` stands."""
    names: dict[str, None] = {}
    for key in all_keys():
        for length in range(1, len(key.path) + 1):
            if length == len(path) and matches(key.path[: length - 1], path[:-1]):
                names[key.path[length - 1]] = None
    return [name for name in names if name != ANY_NAME]


def _keys_of(model: type[BaseModel], path: KeyPath, variant: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        annotation = _without_none(field.annotation)
        here = (*path, name)
        value_type = _mapping_value(annotation)
        models = _models(value_type if value_type is not None else annotation)
        if not models:
            yield _leaf(here, annotation, field, variant)
            continue
        below = here if value_type is None else (*here, ANY_NAME)
        for section in models:
            source = section.model_fields.get("source")
            tag = str(typing.get_args(source.annotation)[0]) if source else variant
            yield from _keys_of(section, below, tag)


def _leaf(path: KeyPath, annotation: Any, field: FieldInfo, variant: str) -> Key:
    default = None if field.default is PydanticUndefined else field.default
    return Key(
        path=path,
        kind=_kind(annotation, field),
        required=field.is_required(),
        default=default,
        description=" ".join((field.description or "").split()),
        example=field.examples[0] if field.examples else default,
        is_secret=_is_a(annotation, SecretStr),
        is_path=_is_a(annotation, Path) or _may_be_url(field),
        variant=variant,
    )


def _without_marks(annotation: Any) -> Any:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _without_none(annotation: Any) -> Any:
    annotation = _without_marks(annotation)
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    return _without_marks(options[0]) if len(options) == 1 else typing.Union[tuple(options)]  # noqa: UP007 - built at run time


def _mapping_value(annotation: Any) -> Any:
    return typing.get_args(annotation)[1] if typing.get_origin(annotation) is Mapping else None


def _models(annotation: Any) -> list[type[BaseModel]]:
    annotation = _without_marks(annotation)
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = typing.get_args(annotation) if union else (annotation,)
    return [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]


def _is_a(annotation: Any, kind: type) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, kind)


def _may_be_url(field: FieldInfo) -> bool:
    return any(isinstance(mark, PathOrUrl) for mark in field.metadata)


def _kind(annotation: Any, field: FieldInfo) -> str:
    if _may_be_url(field):
        return "path or URL"
    if typing.get_origin(annotation) is Literal:
        return either(str(option) for option in typing.get_args(annotation))
    if typing.get_origin(annotation) is list:
        return "list of text"
    words: list[tuple[type, str]] = [
        (SecretUrl, "URL (secret)"),
        (SecretStr, "text (secret)"),
        (Path, "path"),
        (bool, "true or false"),
        (int, "whole number"),
        (float, "number"),
        (str, "text"),
    ]
    return next(word for kind, word in words if _is_a(annotation, kind)) + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    low = next((f"from {m.ge:,}" for m in field.metadata if isinstance(m, Ge)), "")
    above = next((f"above {m.gt:,}" for m in field.metadata if isinstance(m, Gt)), "")
    high = next((f"to {m.le:,}" for m in field.metadata if isinstance(m, Le)), "")
    return " ".join(part for part in ("", low or above, high) if part or low or above or high).rstrip()


def either(options: typing.Iterable[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *first, last = options
    return f"{', '.join(first)} or {last}" if first else last
