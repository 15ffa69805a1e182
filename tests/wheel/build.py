"""Builds the distribution: the source archive first, and the wheel from that alone."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import REPOSITORY

UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}") or "uv"
"""The environment's own uv, which the Makefile puts there, else the one on the search path."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The two files that are published."""

    sdist: Path
    wheel: Path


def build_distribution(into: Path) -> Distribution:
    """Build source archive and wheel into a folder.

    The wheel is made from the source archive: a file that the archive lacks is missing in the wheel, and what an
    earlier build left in `build/` cannot get in. setuptools is the environment's own, so nothing is fetched.

    Raises:
        RuntimeError: the build failed; the text is what it printed.
    """
    command = [UV, "build", "--no-build-isolation", "--python", sys.executable, "--out-dir", into, REPOSITORY]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"uv build ended with {done.returncode}: {done.stderr}")
    (sdist,), (wheel,) = into.glob("patchline-*.tar.gz"), into.glob("patchline-*.whl")
    return Distribution(sdist, wheel)
