"""What a fit by folds costs, against the fit of a version before folds: wall time, and peak private memory.

Each fit is a process of its own, the two sides in turn; starting it and loading the backbone are left out. The version
before is named by a checkout (`--before DIR`), as a copy of this repository need not have its history.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.bench import Bench, FigureUnavailableError
from tests.bench.memory import write_frames
from tests.bench.peer import REPOSITORY
from tests.bench.private_memory import PrivateMemory
from tests.bench.row import Row, from_times, from_values
from tests.bench.timing import Comparison

REPEATS = {200: 5, 2000: 3}
"""How often each side runs at most, by the number of images."""
WALL, MEMORY = 1.5, 1.1
"""So many times what the fit before took."""
GIB = 2**30


def fit_cost(bench: Bench) -> list[Row]:
    """Wall time and memory of a fit on 200 and on 2,000 images."""
    if bench.before is None:
        raise FigureUnavailableError(
            "no version before folds to compare with: `git worktree add build/before 07ff0fd` makes one, and "
            "`make bench FIGURE=fit_cost ARGS='--before build/before'` measures"
        )
    if not (bench.before / "engine").is_dir():
        raise FigureUnavailableError(f"--before: {bench.before} has no folder `engine`; expected a checkout")
    rows = []
    with TemporaryDirectory(dir=bench.build) as folder:
        sides = {"ours": _importable(REPOSITORY, Path(folder, "ours"))}
        sides["before"] = _importable(bench.before.resolve(), Path(folder, "before"))
        for count, most in {60: 1}.items() if bench.quick else REPEATS.items():
            rows += _rows(bench, sides, count, min(most, bench.repeats))
    return rows


def _rows(bench: Bench, sides: dict[str, Path], count: int, repeats: int) -> list[Row]:
    frames = bench.build / f"frames-{count}.npy"
    sources = write_frames(bench, count)
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for repeat in range(repeats):
        for side in list(sides)[:: 1 if repeat % 2 == 0 else -1]:
            found[side].append(_run(sides[side], frames, count))
    bench.say(
        f"{count} images ({sources} good ones of magnetic_tile, mirrored and turned), {repeats} fits of each side"
    )
    for side, runs in found.items():
        stages = {stage: median(run["stages_s"][stage] for run in runs) for stage in runs[0]["stages_s"]}
        bench.say(
            f"  {side}: {median(run['s'] for run in runs):.2f} s ("
            + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items())
            + f"), {runs[0]['rows']} rows, threshold by {runs[0]['frames']} images, private "
            f"{median(run['private_bytes'] for run in runs) / GIB:.3f} GiB, resident "
            f"{median(run['peak_rss_bytes'] for run in runs) / GIB:.3f} GiB"
        )
    seconds = Comparison(*([run["s"] for run in found[side]] for side in ("ours", "before")))
    private = [median(run["private_bytes"] for run in found[side]) / GIB for side in ("ours", "before")]
    return [
        from_times(f"fit_cost_{count}", seconds, goal=1 / WALL),
        from_values(f"fit_memory_{count}", *private, goal=1 / MEMORY, unit="GiB", less_is_better=True),
    ]


def _importable(checkout: Path, folder: Path) -> Path:
    """A folder from which a checkout is imported as `patchline`."""
    package = folder / "patchline"
    package.mkdir(parents=True)
    for layer in ("engine", "stream", "ops"):
        (package / layer).symlink_to(checkout / layer)
    return folder


def _run(path: Path, frames: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("fit_alone.py")), str(frames), str(count)]
    variables = os.environ | {"PYTHONPATH": str(path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
    with process, PrivateMemory(process.pid) as watched:
        printed, _ = process.communicate()
    if process.returncode:
        raise FigureUnavailableError(f"the fit by {path} ended with {process.returncode}")
    said: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return said | {"private_bytes": watched.peak_bytes}
