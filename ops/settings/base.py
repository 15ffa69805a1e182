"""What the sections of the settings are made of: strict models, secrets that may lie in files, checked names."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, model_validator

from patchline.ops.settings.formats import check_url
from patchline.ops.settings.secrets import SecretUrl

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


def _plain_name(name: str) -> str:
    if not name or len(name) > 128 or not all(c.isalnum() or c in "._-" for c in name):
        raise ValueError("a name of 1 to 128 letters, digits, '.', '_' or '-'")
    return name


def url_of(*schemes: str) -> AfterValidator:
    """A URL has to begin with one of the schemes, and to name a server that can be there."""

    def check(url: SecretUrl) -> SecretUrl:
        if not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError("a URL that begins with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return check_url(url)

    return AfterValidator(check)


def _readable(path: Path) -> Path:
    try:
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise ValueError(f"a text file that can be read ({why})") from error
    return path


SecretFile = Annotated[Path, AfterValidator(_readable)]
Name = Annotated[str, AfterValidator(_plain_name)]


class Section(BaseModel):
    """A group of settings. A secret `x` may be read from a file instead, `x_file`, as containers mount them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)
    secrets: ClassVar[tuple[str, ...]] = ()

    def _config(self, config: type[Config], **given: object) -> Config:
        """The stream's configuration that this section describes: fields of the same name take the section's values.

        A setting thus has one name from the file to where it is used, and a new field of both needs no copying here.

        Args:
            config: the dataclass to make. What it has and the section has not keeps the dataclass's default.
            given: fields that users know by another name, or that come from other sections.

        Raises:
            ConfigError: the stream refuses the values.
        """
        build: Callable[..., Config] = config
        same = {
            f.name: _as_stream_value(getattr(self, f.name)) for f in fields(config) if f.name in type(self).model_fields
        }
        return build(**(same | given))

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        values = dict(data)
        for name in cls.secrets:
            path = values.get(f"{name}_file")
            if path is None:
                continue
            if values.get(name) is not None:
                raise ValueError(f"either {name} or {name}_file, not both")
            with suppress(OSError, UnicodeDecodeError, TypeError):  # `SecretFile` says what is wrong with it
                values[name] = Path(path).read_text(encoding="utf-8").strip()
        return values


def _as_stream_value(value: object) -> object:
    """A value as the stream takes it: secrets revealed, and lists as tuples, because its configurations are frozen."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return tuple(value) if isinstance(value, list) else value
