"""Which tests are a module's own: those of its name, and what `own_tests.toml` adds."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import REPOSITORY

TABLE = Path(__file__).with_name("own_tests.toml")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the table says of a module: further test files, the one to run first in front, and why."""

    tests: tuple[Path, ...]
    reason: str


def table(path: Path = TABLE) -> dict[Path, Entry]:
    """The table: module -> entry, by paths from the repository's root.

    Raises:
        ValueError: an entry lacks its tests or its reason, or has more than them.
    """
    entries: dict[Path, Entry] = {}
    for module, found in tomllib.loads(path.read_text()).items():
        if set(found) != {"tests", "reason"} or not found["reason"].strip():
            raise ValueError(f"{path.name}: {module}: found {', '.join(found)}, expected tests and a reason")
        entries[Path(module)] = Entry(tuple(map(Path, found["tests"])), found["reason"])
    return entries


def named_tests(module: Path, root: Path = REPOSITORY) -> list[Path]:
    """Test files of a module's name: `engine/coreset/greedy.py` has `tests/engine/coreset/test_greedy.py`.

    `test_greedy_*.py` are its own too, unless a module beside it bears the longer name.
    """
    folder, name = "tests" / module.parent, module.stem.lstrip("_")
    beside = {path.stem.lstrip("_") for path in (root / module.parent).glob("*.py")} - {name}
    exact = folder / f"test_{name}.py"
    found = [exact] if (root / exact).is_file() else []
    for path in sorted((root / folder).glob(f"test_{name}_*.py")):
        words = path.stem.removeprefix("test_")
        if not any(words == other or words.startswith(f"{other}_") for other in beside if len(other) > len(name)):
            found.append(folder / path.name)
    return found


def own_tests(module: Path, root: Path = REPOSITORY) -> list[Path]:
    """A module's own test files, those of its name first; paths are from the repository's root."""
    entry = table().get(module)
    return list(dict.fromkeys([*named_tests(module, root), *(entry.tests if entry else ())]))
