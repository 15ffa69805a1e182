"""What the sections of the settings are made of: strict models, secrets that may lie in files, checked names."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from patchline.ops.settings.secrets import SecretUrl


def _plain_name(name: str) -> str:
    if not name or len(name) > 128 or not all(c.isalnum() or c in "._-" for c in name):
        raise ValueError("a name of 1 to 128 letters, digits, '.', '_' or '-'")
    return name


def url_of(*schemes: str) -> AfterValidator:
    """A URL has to begin with one of the schemes."""

    def check(url: SecretUrl) -> SecretUrl:
        if not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError("a URL that begins with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return url

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
