"""Temporary files that become whole files by one step, and those that a killed writer has left behind.

A writer holds a lock on its file for as long as it lives. What nobody holds, and is older than any write lasts, is
removed by the next writer that comes to the folder; ages are told by the file system's own clock.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".partial"
ABANDONED_S = 3600.0
"""Age from which a file that nobody holds is removed, in seconds: on some network file systems locks are not seen by
other machines."""


@contextmanager
def temporary_for(path: Path, content: bytes, *, durable: bool) -> Iterator[Path]:
    """A hidden file beside `path` with this content, on disk if `durable`; it is gone afterwards.

    Raises OSError where it cannot be written.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=SUFFIX)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(OSError):  # a file system without locks: its age must do
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(folder: Path, now_s: float) -> None:
    """Remove the temporary files that killed writers have left in a folder; what cannot be removed stays.

    Args:
        folder: whose files, not those of folders in it.
        now_s: when a file was written there just now, by the file system's clock.
    """
    for path in folder.glob(f".*{SUFFIX}"):
        with suppress(OSError), path.open("r+b") as file:
            if now_s - os.fstat(file.fileno()).st_mtime < ABANDONED_S:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where its writer lives
            path.unlink(missing_ok=True)
