"""What killed writers leave behind is removed, and nothing that anyone may still want."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from patchline.engine.bank.atomic_files import ABANDONED_S, SUFFIX, remove_abandoned, temporary_for
from patchline.engine.bank.blobs import open_blobs

WRITER = """
import sys
from pathlib import Path
from patchline.engine.bank.atomic_files import temporary_for
with temporary_for(Path(sys.argv[1]), b"half of what was to be written", durable=False) as temporary:
    print(temporary, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[str], Path]]]:
    """Starts a process that has a temporary file open for a name in the folder; gives it and the file."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str) -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in running:
        process.kill()
        process.communicate()


def age(path: Path, seconds: float) -> None:
    written = path.stat().st_mtime - seconds
    os.utime(path, (written, written))


def test_only_old_files_of_dead_writers_are_removed(
    tmp_path: Path, writer: Callable[[str], tuple[subprocess.Popen[str], Path]]
) -> None:
    """Killed long ago: removed by the next writer. Killed just now, or alive for however long: left. So is whatever
    others hide in the folder.
    """
    (dead, long_dead), (dying, just_dead), (_, alive) = (writer(name) for name in ("a", "b", "c"))
    for process in (dead, dying):
        process.send_signal(signal.SIGKILL)
        process.wait()
    foreign = tmp_path / ".nfs0001"
    foreign.write_bytes(b"x")
    for path in (long_dead, alive, foreign):
        age(path, 2 * ABANDONED_S)
    open_blobs(tmp_path).write("d", b"whole")
    assert sorted(path for path in tmp_path.iterdir() if path.name.startswith(".")) == sorted(
        [just_dead, alive, foreign]
    )
    assert open_blobs(tmp_path).names() == ["d"]


def test_a_writer_leaves_nothing(tmp_path: Path) -> None:
    """Not when it succeeds, nor when another was first."""
    blobs = open_blobs(tmp_path)
    blobs.create("one", b"1")
    (tmp_path / "two").mkdir()
    with pytest.raises(OSError, match="two"):
        blobs.write("two", b"2")
    with pytest.raises(FileExistsError):
        blobs.create("one", b"2")
    assert not list(tmp_path.glob(f".*{SUFFIX}"))


@pytest.mark.parametrize("durable", [True, False])
def test_a_temporary_file_is_whole_before_it_is_given_away(
    tmp_path: Path, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content is there when the body begins, and on the disk first if it must be; afterwards it is gone."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    with temporary_for(tmp_path / "a", b"content", durable=durable) as temporary:
        assert temporary.read_bytes() == b"content"
        assert (temporary.parent, temporary.name[:3], temporary.suffix) == (tmp_path, ".a.", SUFFIX)
        assert temporary.stat().st_mode & 0o777 == 0o644
    assert synced == ([7] if durable else [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("age_s", "left"), [(ABANDONED_S - 1, True), (ABANDONED_S, False), (ABANDONED_S + 1, False)])
def test_a_file_is_abandoned_from_an_age_on(tmp_path: Path, age_s: float, left: bool) -> None:
    """By the time that the folder's file system tells; folders in it are left alone."""
    file, inside = tmp_path / f".a{SUFFIX}", tmp_path / "sub" / f".b{SUFFIX}"
    inside.parent.mkdir()
    for path in (file, inside):
        path.write_bytes(b"")
        os.utime(path, (5000.0, 5000.0))
    remove_abandoned(tmp_path, 5000.0 + age_s)
    assert file.exists() is left
    assert inside.exists()
