"""Which modules are mutated, and in which order their places are tried. The same seed gives the same order."""

import hashlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from tests.mutants.place import Kind, Place
from tests.mutants.places import places
from tests.services.process import REPOSITORY

PRODUCT = ("engine", "stream", "ops")
DRAWN_FROM = (
    "stream",
    "engine/inspection",
    "engine/bank",
    "engine/learning",
    *(f"engine/coreset/{name}.py" for name in ("admission", "event_log", "online", "rows", "thinning")),
)
"""Where a draw takes its places from: the stream, and the engine's scoring, bank and learning."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one place of it."""

    module: Path
    place: Place

    def __str__(self) -> str:
        return f"{self.module}:{self.place.line} {self.place.function or 'module'}  {self.place.change}"


def modules_in(named: Sequence[str], root: Path = REPOSITORY) -> list[Path]:
    """Modules, and all modules below folders, by paths from the root; what does not exist gives none."""
    paths = [root / name for name in named]
    found = [path for path in paths if path.is_file()] + [path for folder in paths for path in folder.rglob("*.py")]
    return sorted(path.relative_to(root) for path in found)


def mutants_of(modules: Sequence[Path], root: Path = REPOSITORY) -> list[Mutant]:
    """Every mutant of modules."""
    return [Mutant(module, place) for module in modules for place in places((root / module).read_text())]


def drawn(mutants: Sequence[Mutant], seed: int) -> list[Mutant]:
    """All mutants in the order of a draw: the kinds take turns, and within a kind each place has the same chance.

    The order comes from what a mutant says, not from where it stands: edits elsewhere leave the drawn ones drawn.
    """
    seen: dict[str, int] = {}
    order: dict[Kind, list[tuple[bytes, Mutant]]] = {kind: [] for kind in Kind}
    for mutant in mutants:
        place = mutant.place
        said = "\n".join((str(seed), str(mutant.module), place.function, place.kind, place.text, place.change))
        seen[said] = seen.get(said, 0) + 1
        key = hashlib.sha256(f"{said}\n{seen[said]}".encode()).digest()
        order[place.kind].append((key, mutant))
    turns = [[mutant for _, mutant in sorted(found, key=lambda each: each[0])] for found in order.values()]
    return [mutant for turn in zip_longest(*turns) for mutant in turn if mutant is not None]


def base_of_changes(root: Path = REPOSITORY) -> str:
    """What changes are counted from: HEAD where the work tree differs, else where main left its remote, else HEAD~1."""
    if _git(root, "status", "--porcelain", "--", *PRODUCT):
        return "HEAD"
    for upstream in ("@{upstream}", "origin/main"):
        found = subprocess.run(
            ["git", "merge-base", "HEAD", upstream], cwd=root, capture_output=True, text=True, check=False
        )
        base = found.stdout.strip()
        if found.returncode == 0 and base != _git(root, "rev-parse", "HEAD"):
            return base
    return "HEAD~1"


def changed_modules(base: str, root: Path = REPOSITORY) -> list[Path]:
    """Modules of the product that differ from a commit, new ones too."""
    changed = _git(root, "diff", "--name-only", "--diff-filter=d", base, "--", *PRODUCT)
    new = _git(root, "ls-files", "--others", "--exclude-standard", "--", *PRODUCT)
    return sorted({Path(line) for line in f"{changed}\n{new}".splitlines() if line.endswith(".py")})


def changed_first(mutants: Sequence[Mutant], base: str, root: Path = REPOSITORY) -> list[Mutant]:
    """Mutants on lines that differ from a commit, then the others, each in their order."""
    lines = {module: set(_changed_lines(module, base, root)) for module in {each.module for each in mutants}}
    return sorted(mutants, key=lambda each: each.place.line not in lines[each.module])


def _changed_lines(module: Path, base: str, root: Path) -> Iterator[int]:
    if not _git(root, "ls-files", "--", str(module)):
        yield from range(1, len((root / module).read_text().splitlines()) + 1)
    for start, count in re.findall(
        r"(?m)^@@ -\S+ \+(\d+)(?:,(\d+))?", _git(root, "diff", "-U0", base, "--", str(module))
    ):
        yield from range(int(start), int(start) + int(count or 1))


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()
