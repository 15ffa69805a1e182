"""Settings files of version 0.1.0 are read into the values that they meant then."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from patchline.ops.settings.file import load_settings, read_settings
from tests.version_0_1_0 import DATA, facts, known_then

KEPT = facts("settings.json")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, because relative paths start at the file."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(DATA / "settings", tmp_path / "settings")


def plain(value: Any, folder: Path) -> Any:
    """Settings as `settings.json` keeps them: secrets are told, and the folder of the file is not."""
    if isinstance(value, Mapping):
        return {name: plain(inner, folder) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, folder) for inner in value]
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return str(value).replace(str(folder.resolve()), "{folder}") if isinstance(value, str | Path) else value


@pytest.mark.parametrize("name", KEPT["files"])
def test_a_settings_file_means_what_it_meant(folder: Path, name: str) -> None:
    """Each key that a file of 0.1.0 sets is known, without a problem, and has the value that 0.1.0 read."""
    assert not read_settings(folder / name).problems
    kept = KEPT["files"][name]
    assert known_then(plain(load_settings(folder / name).model_dump(), folder), kept) == kept


def test_environment_variables_mean_what_they_meant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of 0.1.0 override the keys of the file that they did then."""
    given = KEPT["environment"]
    for name, value in given["variables"].items():
        monkeypatch.setenv(name, value)
    found = plain(load_settings(folder / given["file"]).model_dump(), folder)
    assert known_then(found, given["values"]) == given["values"]
    assert given["values"] != KEPT["files"][given["file"]]
