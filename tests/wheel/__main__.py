"""`python -m tests.wheel` (`make wheel-test`): the wheel works in an empty environment, outside the checkout.

1. Build the source archive, and the wheel from it.
2. Install the wheel, with the versions of constraints.txt, into an environment that is made for this alone.
3. From another folder: `patchline --help`, a fit and an inspection by the Python API.
4. Install PyPI's `ops`, which is another project and owns the import name `ops`, beside it, and remove it again:
   `patchline --help` works throughout, because the wheel has no file under that name.

Dependencies are linked from uv's cache, so that it takes seconds where they were installed before.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.services.process import REPOSITORY
from tests.wheel.build import UV, build_distribution

OTHER = "ops==3.9.0"
"""Another project's package, whose import name is the name of one of our folders."""


class Environment:
    """A virtual environment, and a working folder beside it, outside the checkout."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "environment" / "bin"
        self._work = folder / "elsewhere"
        self._work.mkdir()
        # Neither the checkout's environment nor a search path of the shell may help.
        unwanted = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_CONSTRAINT")
        self._variables = {name: value for name, value in os.environ.items() if name not in unwanted}
        self._run(UV, "venv", "--quiet", "--python", sys.executable, self._bin.parent)

    def uv_pip(self, action: str, *arguments: object) -> None:
        """`uv pip install` or `uninstall` in this environment."""
        self._run(UV, "pip", action, "--quiet", "--python", self._bin / "python", *arguments)

    def run(self, program: str, *arguments: object) -> str:
        """What a program of this environment prints."""
        return self._run(self._bin / program, *arguments)

    def _run(self, *command: object) -> str:
        words: Sequence[str] = [str(word) for word in command]
        done = subprocess.run(
            words, cwd=self._work, env=self._variables, stdout=subprocess.PIPE, text=True, timeout=600, check=False
        )
        if done.returncode:
            sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout


def main() -> None:
    """Build, install, use; then again beside the other project, and after it."""
    with TemporaryDirectory(prefix="patchline-wheel-") as name:
        folder = Path(name)
        built = build_distribution(folder / "dist")
        print(f"built {built.sdist.name} and {built.wheel.name}", flush=True)
        environment = Environment(folder)
        wanted = f"patchline[cpu,demo] @ {built.wheel.as_uri()}"
        environment.uv_pip("install", "--constraints", REPOSITORY / "constraints.txt", wanted)
        print("installed into an empty environment", flush=True)
        _check_help(environment)
        smoke = folder / "elsewhere" / "smoke.py"
        shutil.copy(Path(__file__).with_name("smoke.py"), smoke)
        print(environment.run("python", "-I", smoke).strip(), flush=True)
        environment.uv_pip("install", OTHER)
        _check_help(environment)
        environment.uv_pip("uninstall", OTHER.partition("=")[0])
        _check_help(environment)
        print(f"`patchline --help` works alone, beside {OTHER}, and after that was removed")


def _check_help(environment: Environment) -> None:
    shown = environment.run("patchline", "--help")
    for command in ("fit", "run", "inspect", "check"):
        if command not in shown:
            sys.exit(f"`patchline --help` does not show {command}:\n{shown}")


if __name__ == "__main__":
    main()
