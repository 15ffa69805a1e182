"""What is published: the files of the three folders under one import name, and nothing else."""

import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.services.process import REPOSITORY
from tests.wheel.build import Distribution, build_distribution

FOLDERS = ("engine", "stream", "ops")
FOR_READERS = {".md"}
"""Kinds of files in the three folders that are for readers of the repository, and are not published."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    return build_distribution(tmp_path_factory.mktemp("dist"))


def _in_the_folders() -> set[str]:
    files = (file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*") if file.is_file())
    return {
        file.relative_to(REPOSITORY).as_posix()
        for file in files
        if "__pycache__" not in file.parts and file.suffix not in FOR_READERS
    }


def test_wheel_holds_the_three_folders_and_nothing_else(built: Distribution) -> None:
    """Every room's files are in the wheel, under `patchline`; no package is called `engine`, `stream` or `ops`."""
    names = zipfile.ZipFile(built.wheel).namelist()
    about = [name for name in names if name.split("/")[0].endswith(".dist-info")]
    assert set(names) - set(about) == {f"patchline/{file}" for file in _in_the_folders()}
    assert any(name.endswith("/LICENSE") for name in about)


def test_sdist_holds_what_the_wheel_is_made_of(built: Distribution) -> None:
    """The source archive has the code, the licence and the readme, and nothing else that is not made by the build."""
    with tarfile.open(built.sdist) as archive:
        names = {Path(*Path(m.name).parts[1:]).as_posix() for m in archive.getmembers() if m.isfile()}
    made = {name for name in names if name.startswith("patchline.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert names - made == _in_the_folders() | {"LICENSE", "README.md", "MANIFEST.in", "pyproject.toml", "setup.py"}


def test_version_is_in_one_place(built: Distribution) -> None:
    """The version stands in pyproject.toml alone, and the wheel and the installed package have it from there."""
    stated = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert built.wheel.name == f"patchline-{stated}-py3-none-any.whl"
    assert version("patchline") == stated
    code = (file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*.py"))
    assert [file for file in code if f'"{stated}"' in file.read_text(encoding="utf-8")] == []
