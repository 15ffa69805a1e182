"""Whole files by name at a path or URL: read, written at once, and created exclusively.

A file appears with its whole content or not at all. Local disks give exclusive creation by a hard link, S3 by a
conditional put (`If-None-Match: *`), and `memory://` (tests) by a lock. Other stores are refused: where two writers can
both create one name, a generation could change.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import fsspec
from fsspec.core import url_to_fs

from patchline.engine.bank.atomic_files import remove_abandoned, temporary_for
from patchline.engine.bank.regular_file import read_regular_file
from patchline.engine.errors import BankFileError

LOCAL, S3 = ("file", "local"), ("s3", "s3a")
KINDS = (*LOCAL, *S3, "memory")
MOST_READ_BYTES = 2**34
"""Of a file of which nothing else says how large it may be."""
LARGE_BYTES = 2**25


class Blobs(Protocol):
    """Files under one path or URL, `where`; names are relative to it, with `/` between folders."""

    where: str

    def read(self, name: str, most_bytes: int = MOST_READ_BYTES) -> bytes:
        """The content of a file of so many bytes at most; nothing is read of a larger one.

        Raises:
            FileNotFoundError: there is none.
            OSError: the store cannot be reached.
            BankFileError: the file is larger, no regular file, or one that lies elsewhere.
        """

    def exists(self, name: str) -> bool:
        """Whether there is something of that name; OSError where the store cannot be reached."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that is there; durable when it returns."""

    def hint(self, name: str, content: bytes) -> None:
        """`write` what may be lost when the machine fails."""

    def create(self, name: str, content: bytes) -> None:
        """Write a file that is not there yet; of several writers one succeeds, the others get FileExistsError."""

    def names(self, folder: str = "") -> list[str]:
        """Names of the files directly in a folder, without the folder's, ascending."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""


def open_blobs(url: str | Path) -> Blobs:
    """The files under a path or an fsspec URL (`s3://bucket/folder`, `file:///folder`, `memory://folder`).

    Raises:
        BankFileError: the URL's kind of store cannot create files exclusively, or its library is missing.
    """
    text = str(url)
    if "://" not in text:
        return LocalBlobs(Path(text))
    kind = text.partition("://")[0]
    if kind not in KINDS:
        raise BankFileError(f"{text}: {kind} cannot create a file exclusively; expected a path, file:// or s3://")
    try:
        fs, path = url_to_fs(text, use_listings_cache=False) if kind in S3 else url_to_fs(text)
    except (ImportError, ValueError, OSError) as error:
        raise BankFileError(f"{text}: cannot be opened: {error}") from error
    if kind in LOCAL:
        return LocalBlobs(Path(path))
    if not path.strip("/"):
        raise BankFileError(f"{text}: names no folder; expected {kind}://BUCKET/FOLDER")
    return S3Blobs(fs, path, text) if kind in S3 else MemoryBlobs(fs, path, text)


class LocalBlobs:
    """Files in a folder of this machine, made durable as they are written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._swept: set[Path] = set()
        self.where = str(folder)

    def read(self, name: str, most_bytes: int = MOST_READ_BYTES) -> bytes:
        """See `Blobs.read`."""
        return read_regular_file(self._folder, name, most_bytes)

    def exists(self, name: str) -> bool:
        """See `Blobs.exists`."""
        return (self._folder / name).exists()

    def write(self, name: str, content: bytes) -> None:
        """See `Blobs.write`."""
        self._publish(name, content, replace=True)

    def hint(self, name: str, content: bytes) -> None:
        """See `Blobs.hint`."""
        self._publish(name, content, replace=True, durable=False)

    def create(self, name: str, content: bytes) -> None:
        """See `Blobs.create`."""
        if (self._folder / name).exists():
            raise FileExistsError(name)
        self._publish(name, content, replace=False)

    def names(self, folder: str = "") -> list[str]:
        """See `Blobs.names`."""
        where = self._folder / folder
        if not where.is_dir():
            return []
        return sorted(path.name for path in where.iterdir() if path.is_file() and not path.name.startswith("."))

    def remove(self, name: str) -> None:
        """See `Blobs.remove`."""
        (self._folder / name).unlink(missing_ok=True)

    def _publish(self, name: str, content: bytes, *, replace: bool, durable: bool = True) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_for(path, content, durable=durable) as temporary:
            if path.parent not in self._swept:
                self._swept.add(path.parent)
                remove_abandoned(path.parent, temporary.stat().st_mtime)
            if replace:
                temporary.replace(path)
            else:
                # A hard link fails where the name exists, and a rename would not.
                path.hardlink_to(temporary)
        if durable:
            _sync(path.parent)


class _Remote:
    """What stores behind fsspec have in common."""

    def __init__(self, fs: fsspec.AbstractFileSystem, root: str, where: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        self.where = where.rstrip("/")

    def read(self, name: str, most_bytes: int = MOST_READ_BYTES) -> bytes:
        """See `Blobs.read`."""
        path = self._path(name)
        found = self._fs.info(path)
        if found["type"] != "file":
            raise FileNotFoundError(path)
        if found["size"] > most_bytes:
            where = f"{self.where}/{name}"
            raise BankFileError(f"{where}: altered: {found['size']:,} bytes, expected {most_bytes:,} at most")
        if not found["size"]:
            return b""
        # A large one in parts side by side, which fsspec does of a whole file alone.
        bounds = {} if found["size"] > LARGE_BYTES else {"start": 0, "end": found["size"]}
        content: bytes = self._fs.cat_file(path, **bounds)
        return content

    def exists(self, name: str) -> bool:
        """See `Blobs.exists`."""
        try:
            self._fs.info(self._path(name))
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, content: bytes) -> None:
        """See `Blobs.write`."""
        self._fs.pipe_file(self._path(name), content)

    def hint(self, name: str, content: bytes) -> None:
        """See `Blobs.hint`."""
        self.write(name, content)

    def names(self, folder: str = "") -> list[str]:
        """See `Blobs.names`."""
        self._fs.invalidate_cache()
        try:
            entries: list[dict[str, Any]] = self._fs.ls(self._path(folder) if folder else self._root, detail=True)
        except FileNotFoundError:
            return []
        return sorted(entry["name"].rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file")

    def remove(self, name: str) -> None:
        """See `Blobs.remove`."""
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


class MemoryBlobs(_Remote):
    """Files in this process's memory, for tests."""

    _lock = threading.Lock()

    def create(self, name: str, content: bytes) -> None:
        """See `Blobs.create`."""
        with self._lock:
            if self._fs.exists(self._path(name)):
                raise FileExistsError(name)
            self.write(name, content)


class S3Blobs(_Remote):
    """Objects of an S3-compatible store; it must honour `If-None-Match` on puts."""

    def read(self, name: str, most_bytes: int = MOST_READ_BYTES) -> bytes:
        """See `Blobs.read`."""
        with _as_os_errors(self._path(name)):
            return super().read(name, most_bytes)

    def exists(self, name: str) -> bool:
        """See `Blobs.exists`."""
        with _as_os_errors(self._path(name)):
            return super().exists(name)

    def write(self, name: str, content: bytes) -> None:
        """See `Blobs.write`."""
        with _as_os_errors(self._path(name)):
            super().write(name, content)

    def names(self, folder: str = "") -> list[str]:
        """See `Blobs.names`."""
        with _as_os_errors(self._path(folder)):
            return super().names(folder)

    def remove(self, name: str) -> None:
        """See `Blobs.remove`."""
        with _as_os_errors(self._path(name)):
            super().remove(name)

    def create(self, name: str, content: bytes) -> None:
        """See `Blobs.create`."""
        bucket, _, key = self._path(name).partition("/")
        try:
            with _as_os_errors(self._path(name)):
                self._fs.call_s3("put_object", Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
        except OSError as error:
            # 412: it is there. 409: another writer is about to have created it.
            if any(code in str(_cause(error)) for code in ("PreconditionFailed", "ConditionalRequestConflict", "412")):
                raise FileExistsError(name) from error
            raise


@contextmanager
def _as_os_errors(key: str) -> Iterator[None]:
    """botocore's own errors (no credentials, no such endpoint) as OSError, like those that s3fs translates."""
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except BotoCoreError as error:
        raise OSError(f"s3://{key}: {error}") from error


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ or error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
