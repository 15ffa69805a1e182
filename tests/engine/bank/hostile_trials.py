"""Reads many hostile stores in a process of little memory: `python -m tests.engine.bank.hostile_trials FROM WORK KIND`.

Prints one JSON line for each trial that ended in anything but a bank or an error that names what is wrong.
"""

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from patchline.engine.bank.store import GenerationStore
from patchline.engine.errors import PatchlineError
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.replay import replay_errors
from tests.engine.bank.forging import Json, fields, forge, manifest_path, put

MEMORY_BYTES = 2**29
"""What a trial may take beyond what the process has when it begins."""
SECONDS = 5.0
"""What a trial may take, on a busy machine: any that allocates or loops by what it reads takes for ever."""
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 31, 2**31 - 1, 2**31, -(2**31), 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 10**400,
    0.0, -0.0, 0.5, -1.5, 1e-320, 5e-324, 1e300, -1e300, 1.7e308,
    "", "x", "../../etc/passwd", "/dev/zero", "a/b", "nul\0byte", "ä" * 300, "0" * 64, "f" * 63, "x" * 5_000,
    [], [[]], [0], [0, 0], [1, 2], [-1, 2], [2**40, 2**40], ["a"], [1.5, 2.5, 3.5], [0.0, 0.0, 0.0], [None], {},
)  # fmt: skip
"""What a field may be given: of every type, at the ends of every range, and beyond."""


def main() -> None:
    """Try what KIND says on copies of a store."""
    source, work, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    expected = sums(source)
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    count = 0
    copy = StoreCopy(source, work)
    for what, change in KINDS[kind](source):
        copy.restore()
        change(work)
        begun = monotonic()
        wrong = tried(work, expected if kind == "bytes" else None)
        if wrong is None and monotonic() - begun > SECONDS:
            wrong = f"took {monotonic() - begun:.1f} s"
        if wrong is not None:
            print(json.dumps({"trial": what, "wrong": wrong}), flush=True)
        count += 1
    print(json.dumps({"tried": count}), flush=True)


class StoreCopy:
    """A copy of a store that is made like it again after each trial: only what has changed is written anew.

    Args:
        source: the store; nobody writes to it.
        work: where the copy lies.
    """

    def __init__(self, source: Path, work: Path) -> None:
        self._source, self._work = source, work
        shutil.copytree(source, work)
        self._sizes = {name: self._aged(name) for name, _ in _files(work)}

    def restore(self) -> None:
        """Bring the copy to what the store is: files that a trial has changed, added or removed."""
        found = {name: (state.st_size, state.st_mtime_ns) for name, state in _files(self._work)}
        for name in found.keys() - self._sizes.keys():
            (self._work / name).unlink()
        for name, size_bytes in self._sizes.items():
            if found.get(name) != (size_bytes, 0):
                shutil.copyfile(self._source / name, self._work / name)
                self._aged(name)

    def _aged(self, name: str) -> int:
        """Date a file back, so that any write shows, also one within the same tick of the clock; its size in bytes."""
        os.utime(self._work / name, ns=(0, 0))
        return (self._work / name).stat().st_size


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Each file below a folder, by its name relative to it, and its state."""
    for root, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(root, name)  # noqa: PTH118 # a Path takes longer
            yield os.path.relpath(path, folder), os.lstat(path)


def sums(folder: Path) -> list[str]:
    store = GenerationStore(folder)
    return [store.bank(number).sha256 for number in store.generations()]


def tried(folder: Path, expected: list[str] | None) -> str | None:
    """What is wrong with what became of a store, or None: each step ends, or raises an error that says why not."""
    store = GenerationStore(folder)
    steps: list[Callable[[], object]] = [
        store.newest,
        lambda: [store.bank(number) for number in (1, 2, 4)],
        lambda: store.events(4),
        lambda: [store.patches(frame) for frame in store.manifest(1).calibration],
        lambda: list(store.verify()),
        lambda: list(replay_errors(store)),
        lambda: list(Learner.open(GenerationStore(folder)).warm_up()),
    ]
    for number, step in enumerate(steps):
        try:
            step()
        except PatchlineError as error:
            if not str(error) or len(str(error)) > 20_000:
                return f"step {number}: an error of {len(str(error))} characters"
        except BaseException as error:
            return f"step {number}: {type(error).__name__}: {str(error)[:300]}"
    if expected is not None:
        for number, sha256 in enumerate(expected, start=1):
            try:
                if store.bank(number).sha256 != sha256:
                    return f"generation {number} is read as another bank"
            except PatchlineError:
                continue
    return None


def by_field(source: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Each field of each manifest, with each hostile value, all sums made right afterwards."""
    for generation, every in ((1, 1), (2, 3)):
        manifest = json.loads(manifest_path(source, generation).read_text())
        for path in fields(manifest):
            if not path:
                continue
            for value in HOSTILE[::every]:

                def change(folder: Path, at: Any = path, new: object = value, number: int = generation) -> None:
                    def changed(content: Json) -> None:
                        put(content, at, new)

                    forge(folder, number, changed)

                yield f"generation {generation} {path} = {str(value)[:40]}", change


def by_array(source: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Each array of tensors, in other types and shapes and with values at the ends of their ranges."""
    del source
    rng = np.random.default_rng(0)
    for generation in (1, 2):
        for name in ("rows", "row_frame", "row_patch", "calibration_scores", "removed", "calibration_groups", "more"):
            for label, made in (
                ("gone", None),
                ("empty", np.zeros(0, np.int16)),
                ("scalar", np.array(3, np.int32)),
                ("deep", np.zeros((2, 2, 2), np.int32)),
                ("narrow", np.zeros((24, 1), np.int16)),
                ("float", np.full(24, np.nan)),
                ("NaN", np.array([1.0, np.nan, 3.0, 4.0, 5.0])),
                ("infinite", np.array([1.0, 2.0, 3.0, 4.0, np.inf])),
                ("negative", np.full(24, -1, np.int32)),
                ("large", np.full(24, 2**31 - 1, np.int32)),
                ("random", rng.integers(-(2**31), 2**31, 24).astype(np.int32)),
                ("lowest", np.full((24, 6), -(2**15), np.int16)),
                ("flags", np.ones(24, bool)),
            ):

                def change(
                    folder: Path, key: str = name, new: Any = made, number: int = generation, whole: str = label
                ) -> None:
                    def changed(arrays: dict[str, Any]) -> None:
                        if whole == "gone":
                            arrays.pop(key, None)
                        else:
                            arrays[key] = new

                    forge(folder, number, tensors=changed)

                yield f"generation {generation} {name} {label}", change


def by_bytes(source: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Each file of the store, cut, lengthened and with bytes changed, no sum made right."""
    rng = np.random.default_rng(1)
    for file in sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file()):
        content = (source / file).read_bytes()
        for number in range(12):

            def change(folder: Path, where: Path = file, was: bytes = content, kind: int = number % 4) -> None:
                at = int(rng.integers(len(was)))
                some = rng.bytes(int(rng.integers(1, 9)))
                made = (was[:at], was[:at] + some + was[at:], was[:at] + some + was[at + len(some) :], was + some)[kind]
                (folder / where).write_bytes(made)

            yield f"{file} {number}", change


KINDS = {"fields": by_field, "arrays": by_array, "bytes": by_bytes}

if __name__ == "__main__":
    main()
