"""A copy of the checkout, where a module is mutated and tests run: the work tree is never touched."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.selection import PRODUCT, Mutant
from tests.services.process import REPOSITORY

PACKAGE = "patchline"
_LENT = ("build/kafka",)
"""What tests fetch once and only read."""


class Checkout:
    """A copy of all files that git knows or would add, with uncommitted contents.

    Args:
        services: variables that tell tests where servers run.
    """

    def __init__(self, folder: Path, services: Mapping[str, str], source: Path = REPOSITORY) -> None:
        self._services = services
        self.folder = folder.resolve()
        self._source = source
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True).stdout
        for name in dict.fromkeys(listed.split("\0")):
            if name and (source / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, self.folder / name)
        for name in _LENT:
            if (source / name).is_dir():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).symlink_to(source / name)
        self._roots = import_roots(self.folder)

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The copy with a mutant in it.

        Raises:
            ValueError: the mutant is no Python.
        """
        path = self.folder / mutant.module
        text = path.read_text()
        changed = mutant.place.applied(text)
        compile(changed, str(mutant.module), "exec")
        path.write_text(changed)
        try:
            yield
        finally:
            path.write_text(text)

    def environment(self, temporary: Path) -> dict[str, str]:
        """What a process needs to import the copy, and to leave its files in a folder of its own."""
        data = self._source.parent / "shared" / "data"
        return {
            **({"PATCHLINE_DATA": str(data)} if data.is_dir() else {}),
            **os.environ,
            **self._services,
            "PYTHONPATH": os.pathsep.join(map(str, self._roots)),
            # A mutant of the same size within the same second would run from the byte code of the one before.
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(temporary),
        }


def import_roots(folder: Path) -> list[Path]:
    """The folders of a copy to import from: one with the import package as links to its folders, and its own."""
    links = folder / "build" / "src" / PACKAGE
    links.mkdir(parents=True, exist_ok=True)
    for name in PRODUCT:
        if not (links / name).exists():
            (links / name).symlink_to(folder / name)
    return [links.parent, folder]


def dotted(module: Path) -> str:
    """The name a module is imported by."""
    return ".".join((PACKAGE, *module.with_suffix("").parts)).removesuffix(".__init__")
