"""The house stays one that a stranger can walk through: rooms of a size, without circles, each name once."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import grimp
import networkx as nx
import pytest

from tests.services.process import REPOSITORY

PACKAGES = ("engine", "stream", "ops")
LARGEST_ROOM = 18
LONGEST_CHAIN = 8
TWICE: Mapping[str, Mapping[str, str]] = {
    "engine": {},
    "stream": {},
    "ops": {},
}
"""Top-level names that a package defines more than once, and why each is right to."""


def rooms(package: str) -> list[Path]:
    """The folders of a package that hold modules, itself among them."""
    return sorted({path.parent for path in (REPOSITORY / package).rglob("*.py")})


ROOMS = [folder for package in PACKAGES for folder in rooms(package)]


@cache
def imports(package: str) -> "nx.DiGraph[str]":
    """Which module of the package imports which; what is imported for type checkers alone counts too."""
    name = f"patchline.{package}"
    graph = grimp.build_graph(name, cache_dir=None)
    found: nx.DiGraph[str] = nx.DiGraph()
    for module in graph.modules:
        found.add_node(module)
        found.add_edges_from((module, other) for other in graph.find_modules_directly_imported_by(module))
    return found


def room_of(module: str) -> str:
    """`patchline.engine.bank.store` -> `bank`; a file at the top of its package is a room of its own."""
    return [*module.split("."), "(top)"][2]


def defined(package: str) -> Iterator[tuple[str, Path]]:
    """Every class, function and constant at the top level of a module of the package, and where it is."""
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield name, path
                case ast.Assign(targets=targets):
                    yield from ((target.id, path) for target in targets if isinstance(target, ast.Name))
                case ast.AnnAssign(target=ast.Name(id=name)):
                    yield name, path


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_room_is_described_and_not_too_large(room: Path) -> None:
    """A newcomer reads one docstring to know what each file of the room holds."""
    modules = sorted(path.stem for path in room.glob("*.py") if path.stem != "__init__")
    assert len(modules) + 1 <= LARGEST_ROOM
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    inside = [path.name for path in room.iterdir() if (path / "__init__.py").is_file()]
    assert [name for name in [*modules, *inside] if not re.search(rf"`{name}\b", text)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_goes_in_circles(package: str) -> None:
    """Neither files nor rooms import each other, and no chain of rooms is long."""
    files = imports(package)
    assert list(nx.simple_cycles(files)) == []
    between: nx.DiGraph[str] = nx.DiGraph(
        (room_of(one), room_of(other)) for one, other in files.edges if room_of(one) != room_of(other)
    )
    assert list(nx.simple_cycles(between)) == []
    assert nx.dag_longest_path_length(between) + 1 <= LONGEST_CHAIN


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_is_defined_once(package: str) -> None:
    """Whoever meets a name elsewhere in its package knows what it is."""
    places = defaultdict[str, set[Path]](set)
    for name, path in defined(package):
        places[name].add(path.relative_to(REPOSITORY))
    twice = {name for name, paths in places.items() if len(paths) > 1 and name != "__all__"}
    assert twice == TWICE[package].keys(), {name: sorted(map(str, places[name])) for name in sorted(twice)}


def test_every_room_has_its_place_in_the_rule() -> None:
    """A new room that no contract of import-linter names would be free to import anything."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    for package in PACKAGES:
        (rule,) = (one for one in contracts if one.get("containers") == [f"patchline.{package}"])
        named = {room.strip() for layer in rule["layers"] for room in layer.replace(":", "|").split("|")}
        here = {
            path.stem
            for path in (REPOSITORY / package).iterdir()
            if path.suffix == ".py" or (path / "__init__.py").is_file()
        }
        assert named == here - {"__init__"}
