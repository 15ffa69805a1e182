"""Tests mirror the rooms: whoever changes a module knows which tests are its own."""

from pathlib import Path

import pytest

from tests.mutants.own_tests import named_tests, table
from tests.services.process import REPOSITORY

PACKAGES = ("engine", "stream", "ops")


def _modules(package: str) -> list[Path]:
    files = sorted((REPOSITORY / package).rglob("*.py"))
    return [file.relative_to(REPOSITORY) for file in files if file.name != "__init__.py"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_tests_of_its_name_or_a_reason(package: str) -> None:
    """A module without a test file of its name stands in `tests/mutants/own_tests.toml`, with a reason."""
    entries = table()
    assert [str(module) for module in _modules(package) if module not in entries and not named_tests(module)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_test_lies_in_the_folder_of_a_room(package: str) -> None:
    """A folder of tests has the name of the room that it tests."""
    folders = {
        file.parent.relative_to(REPOSITORY / "tests") for file in (REPOSITORY / "tests" / package).rglob("test_*.py")
    }
    assert [str(folder) for folder in sorted(folders) if not (REPOSITORY / folder / "__init__.py").is_file()] == []
