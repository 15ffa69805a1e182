"""The tool that mutates: it finds places, changes one of them, knows a module's tests, and what may survive."""

import ast
import json
import subprocess
from pathlib import Path

import pytest

from tests.mutants.accepted import Accepted, accepted, entry
from tests.mutants.checkout import Checkout, dotted
from tests.mutants.own_tests import named_tests, own_tests, table
from tests.mutants.place import Kind
from tests.mutants.places import places
from tests.mutants.report import Report
from tests.mutants.selection import (
    DRAWN_FROM,
    Mutant,
    base_of_changes,
    changed_first,
    changed_modules,
    drawn,
    modules_in,
    mutants_of,
)
from tests.mutants.trial import Outcome, Trial
from tests.services.process import REPOSITORY

SOURCE = '''"""Words: 1 + 1."""

import logging
from typing import Literal, TypeAlias

Names: TypeAlias = dict[str, Literal["a"] | int]
log = logging.getLogger(__name__)


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.sum = 0

    async def add(self, amount: int | None = 2, *names: str) -> str:
        """Adds 3."""
        if amount is None or amount <= 0:
            raise ValueError(f"amount: {amount + 1}" + " is below 1")
        log.info("adds %d", amount * 5)
        self.sum += amount
        await self.write(names)
        await self.commit()
        return "ä" if not names and -amount > 1.5 else f"{amount + 4}"
'''


def changes(source: str, kind: Kind | None = None) -> list[str]:
    return [place.change for place in places(source) if kind is None or place.kind is kind]


def test_every_kind_is_found_and_texts_types_and_logs_are_not() -> None:
    """Of a class that has one of each, these and no others are changed."""
    assert changes(SOURCE, Kind.COMPARISON) == [
        "amount is None  ->  amount is not None",
        "amount <= 0  ->  amount < 0",
        "-amount > 1.5  ->  -amount >= 1.5",
    ]
    assert changes(SOURCE, Kind.ARITHMETIC) == ["self.sum += amount  ->  self.sum -= amount", "-amount  ->  amount"]
    assert changes(SOURCE, Kind.CONSTANT) == [
        "0  ->  1",
        "2  ->  3",
        "amount <= 0  ->  amount <= 1",
        "-amount > 1.5  ->  -amount > 3.0",
    ]
    condition, test = "amount is None or amount <= 0", "not names and -amount > 1.5"
    assert sorted(changes(SOURCE, Kind.CONDITION)) == sorted(
        [
            f"{condition}  ->  not ({condition})",
            f"{condition}  ->  {condition.replace('or', 'and')}",
            f"{test}  ->  not ({test})",
            f"{test}  ->  {test.replace('and', 'or')}",
            "not names  ->  names",
        ]
    )
    assert changes(SOURCE, Kind.DELETED) == [
        "self.sum += amount  ->  pass",
        "await self.write(names)  ->  pass",
        "await self.commit()  ->  pass",
    ]
    assert changes(SOURCE, Kind.SWAPPED) == [
        "await self.write(names); await self.commit()  ->  await self.commit(); await self.write(names)"
    ]


def test_a_mutant_differs_in_one_place() -> None:
    """What is before the place and behind it stays, byte for byte, and the whole is another program."""
    old = SOURCE.encode()
    for place in places(SOURCE):
        new = place.applied(SOURCE).encode()
        assert new == old[: place.start] + place.new.encode() + old[place.end :]
        assert ast.dump(ast.parse(new)) != ast.dump(ast.parse(old))
        assert SOURCE.splitlines()[place.line - 1].strip() == place.text


def test_operators_behind_parentheses_comments_and_in_chains() -> None:
    """The operator is changed that is meant, wherever it stands."""
    source = "a = (b  # + -\n    + (c - d)) * 2\ne = 1 <= b < 3 is not c not in d\n"
    assert changes(source, Kind.ARITHMETIC) == [
        "b # + - + (c - d)  ->  b # + - - (c - d)",
        "c - d  ->  c + d",
        "(b # + - + (c - d)) * 2  ->  (b # + - + (c - d)) / 2",
    ]
    chain = "1 <= b < 3 is not c not in d"
    assert changes(source, Kind.COMPARISON) == [
        f"{chain}  ->  1 < b < 3 is not c not in d",
        f"{chain}  ->  1 <= b <= 3 is not c not in d",
        f"{chain}  ->  1 <= b < 3 is c not in d",
        f"{chain}  ->  1 <= b < 3 is not c in d",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n    x = 1\n",
        'if __name__ == "__main__":\n    main(1)\n',
        "@dataclass(frozen=True)\nclass A:\n    pass\n",
        "class A(Protocol):\n    x: int = 1\n",
        'x = "%d" % y + "z"\n',
        "y = isinstance(x, int | str)\n",
        "y = zip(a, b, strict=True)\n",
        "self.observer.retrying(what, error, 1)\n",
        "x: TypeAlias = A | B\n",
    ],
)
def test_what_no_test_should_hold_is_left_alone(source: str) -> None:
    """Types, texts, logs, and what is not run."""
    assert changes(source) == []


def test_what_is_drawn_stays_drawn_when_other_lines_change() -> None:
    """All kinds come first in turn, the same seed gives the same order, and a line more above changes nothing."""
    module = Path("stream/pipeline/in_flight.py")
    before = drawn([Mutant(module, place) for place in places(SOURCE)], seed=1)
    after = drawn([Mutant(module, place) for place in places("# new\n" + SOURCE)], seed=1)
    other = drawn([Mutant(module, place) for place in places(SOURCE)], seed=2)
    told = [mutant.place.change for mutant in before]
    assert {mutant.place.kind for mutant in before[: len(Kind)]} == set(Kind)
    assert told == [mutant.place.change for mutant in after]
    assert told != [mutant.place.change for mutant in other]
    assert sorted(told) == sorted(mutant.place.change for mutant in other)


def test_tests_of_a_name_unless_another_module_bears_it(tmp_path: Path) -> None:
    """`test_greedy_*.py` are of `greedy.py`, but `test_greedy_bounds*.py` are of `greedy_bounds.py`."""
    module, tests = tmp_path / "engine" / "coreset", tmp_path / "tests" / "engine" / "coreset"
    for folder, names in (
        (module, ["greedy", "greedy_bounds", "_private"]),
        (tests, ["test_greedy", "test_greedy_seeds", "test_greedy_bounds", "test_greedy_bounds_far", "test_private"]),
    ):
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.py").touch()

    def found(name: str) -> list[str]:
        return [path.name for path in named_tests(Path("engine/coreset") / f"{name}.py", tmp_path)]

    assert found("greedy") == ["test_greedy.py", "test_greedy_seeds.py"]
    assert found("greedy_bounds") == ["test_greedy_bounds.py", "test_greedy_bounds_far.py"]
    assert found("_private") == ["test_private.py"]
    assert found("other") == []


def test_the_table_names_modules_and_tests_that_exist() -> None:
    """An entry for a module that is gone, or a test file that is gone, would say nothing."""
    for module, found in table().items():
        assert (REPOSITORY / module).is_file(), f"own_tests.toml: no module {module}"
        for file in found.tests:
            assert (REPOSITORY / file).is_file(), f"own_tests.toml: {module}: no file {file}"
        assert own_tests(module)[-len(found.tests) :] == list(found.tests) or not found.tests


def test_an_entry_without_a_reason_is_refused(tmp_path: Path) -> None:
    """Both lists want to know why."""
    path = tmp_path / "list.toml"
    path.write_text('["engine/errors.py"]\ntests = []\nreason = " "\n')
    with pytest.raises(ValueError, match=r"engine/errors\.py"):
        table(path)
    path.write_text('[[accepted]]\nmodule = "engine/errors.py"\n')
    with pytest.raises(ValueError, match="entry 1: wrong or missing: change, equivalent, function, line, why"):
        accepted(path)


def test_what_is_printed_of_a_survivor_is_an_entry(tmp_path: Path) -> None:
    """An entry with its reason matches the mutant that it was printed for, wherever that stands, and no other."""
    module, path = Path("stream/pipeline/in_flight.py"), tmp_path / "accepted.toml"
    for place in places(SOURCE):
        path.write_text(entry(module, place).replace('why = ""', 'why = "because"'))
        (found,) = accepted(path)
        moved = places("# new\n" + SOURCE)
        assert [each.change for each in moved if found.matches(module, each)] == [place.change]
        assert not any(found.matches(Path("stream/other.py"), each) for each in moved)


def test_every_accepted_mutant_can_still_be_made() -> None:
    """An entry that matches nothing has outlived its code."""

    def made(found: Accepted) -> bool:
        return any(found.matches(each.module, each.place) for each in mutants_of([found.module]))

    assert [found for found in accepted() if not made(found)] == []


def test_a_draw_takes_from_folders_that_exist() -> None:
    """A renamed folder would leave its modules out of every draw."""
    assert [folder for folder in DRAWN_FROM if not modules_in([folder])] == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose work tree has a line more than its commit, a new module, and a file that git ignores."""
    root = tmp_path / "repository"
    (root / "stream").mkdir(parents=True)
    (root / ".gitignore").write_text("build/\n")
    (root / "stream" / "old.py").write_text("a = 1\n")
    (root / "stream" / "same.py").write_text("a = 1\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "-m", "first"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "stream" / "old.py").write_text("a = 1\nb = 2\n")
    (root / "stream" / "new.py").write_text("c = 3\n")
    (root / "build").mkdir()
    (root / "build" / "ignored.py").write_text("d = 4\n")
    return root


def test_changed_modules_and_changed_lines_come_first(repository: Path) -> None:
    """What is not committed is what changed, new modules too."""
    base = base_of_changes(repository)
    modules = changed_modules(base, repository)
    assert (base, modules) == ("HEAD", [Path("stream/new.py"), Path("stream/old.py")])
    order = changed_first(drawn(mutants_of(modules, repository), seed=1), base, repository)
    assert {mutant.place.text for mutant in order[:2]} == {"b = 2", "c = 3"}
    assert [mutant.place.text for mutant in order[2:]] == ["a = 1"]


def test_a_mutant_is_made_in_a_copy(repository: Path, tmp_path: Path) -> None:
    """The copy has what is not committed and nothing ignored; the work tree stays, and the copy is whole again."""
    copy = Checkout(tmp_path / "copy", {"REDIS_URL": "redis://here"}, repository)
    (mutant,) = mutants_of([Path("stream/new.py")], repository)
    with copy.mutated(mutant):
        assert (copy.folder / mutant.module).read_text() == "c = 4\n"
        assert (copy.folder / "build" / "src" / "patchline" / mutant.module).read_text() == "c = 4\n"
        assert (repository / mutant.module).read_text() == "c = 3\n"
    assert (copy.folder / mutant.module).read_text() == "c = 3\n"
    assert (copy.folder / "stream" / "old.py").read_text() == "a = 1\nb = 2\n"
    assert not (copy.folder / "build" / "ignored.py").exists()
    environment = copy.environment(tmp_path)
    assert environment["PYTHONPATH"] == f"{copy.folder}/build/src:{copy.folder}"
    assert environment["REDIS_URL"] == "redis://here"


@pytest.mark.parametrize(
    ("outcome", "is_accepted", "complete", "status"),
    [
        (Outcome.CAUGHT, False, True, 0),
        (Outcome.TIMED_OUT, False, True, 0),
        (Outcome.SURVIVED, True, True, 0),
        (Outcome.SURVIVED, False, True, 1),
        (Outcome.ERROR, True, True, 1),
        (Outcome.NOT_TRIED, False, True, 1),
        (Outcome.NOT_TRIED, False, False, 0),
    ],
)
def test_the_exit_status(outcome: Outcome, is_accepted: bool, complete: bool, status: int, tmp_path: Path) -> None:
    """It is 1 for a survivor that nothing explains, an error, and a draw that time did not suffice for."""
    mutant = Mutant(Path("stream/pipeline/in_flight.py"), places(SOURCE)[0])
    place = mutant.place
    entries = [Accepted(mutant.module, place.function, place.text, place.change, False, "because")]
    report = Report(
        [mutant], entries if is_accepted else [], tmp_path / "build" / "mutants.json", complete=complete, how="how"
    )
    if outcome is not Outcome.NOT_TRIED:
        report.add(0, Trial(outcome))
    assert report.ended(1.0) == status
    (told,) = json.loads((tmp_path / "build" / "mutants.json").read_text())["mutants"]
    assert (told["outcome"], told["change"]) == (outcome, place.change)


def test_names_of_modules() -> None:
    """A module is imported from the project's one package."""
    assert dotted(Path("engine/coreset/greedy.py")) == "patchline.engine.coreset.greedy"
    assert dotted(Path("stream/__init__.py")) == "patchline.stream"
