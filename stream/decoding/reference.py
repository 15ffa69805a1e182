"""Frames that come by reference: a URI and a SHA-256 instead of bytes.

A record is data of others, so it may name only what lies below the prefixes that the settings allow; there are none by
default. Where storage cannot be reached the frame waits, and its partition with it. Whatever is wrong with the
reference itself, or with what it names, makes a frame that is not inspected: a file is read only where it is an
ordinary one, and nothing that a reference names can block or raise anywhere else.

Each prefix is storage of its own, with its own threads: one that hangs holds up none of the others.
"""

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fsspec

from patchline.stream.model.checks import MIB
from patchline.stream.model.errors import Reason, SourceUnavailableError, UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.observer import Observer
from patchline.stream.support.redaction import redact_url
from patchline.stream.support.retry import retry_until_done

_CHUNK_BYTES = 4 * MIB
_LOCAL = ("", "file", "local")
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
_REFUSED = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG, errno.EINVAL),
        *(errno.ENXIO, errno.ENODEV, errno.EILSEQ),
    }
)
"""What the operating system says of a name, or of what it names. Anything else it may say of the storage."""
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
HANGS_S = 5.0
"""Storage that has not answered for so long is said to be away, and waited for."""


class _Storage:
    """What one prefix names: so many fetches at once, each on a thread."""

    def __init__(self, prefix: str, threads: int) -> None:
        self.prefix = prefix
        self.shown = redact_url(prefix)
        self.up: bool | None = None
        self.held = asyncio.Semaphore(threads)
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="fetch")


class FrameReferences:
    """Fetches what references name, on threads of its own.

    Args:
        limits: `frame_references`, the URIs of folders below which references may point; `max_referenced_bytes`; and
            `decode_threads`: so many payloads of each of the folders are held at once.
        observer: told of storage that is away.
        hangs_s: storage that has not answered for so long, in seconds, is said to be away.
    """

    def __init__(self, limits: Limits, observer: Observer, *, hangs_s: float = HANGS_S) -> None:
        self._limits = limits
        self._observer = observer
        self._hangs_s = hangs_s
        self._storages = [_Storage(prefix, limits.decode_threads) for prefix in limits.frame_references]

    @asynccontextmanager
    async def payload_of(
        self, frame: Frame, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> AsyncIterator[bytes]:
        """The frame's encoded image, held in memory until the context ends; empty where it has pixels already.

        `waiting` is entered while storage is waited for.

        Raises:
            UnreadableError: REFERENCE_REFUSED, REFERENCE_NOT_FOUND, TOO_MANY_BYTES or HASH_MISMATCH.
        """
        if frame.reference is None or frame.flaw is not None:
            yield frame.payload or b""
            return
        storage = self._storage_of(frame.reference)
        with waiting():
            payload = await retry_until_done(
                f"storage {storage.shown}", lambda: self._attempt(frame, storage), self._observer
            )
        try:
            yield payload
        finally:
            storage.held.release()

    def _storage_of(self, reference: str) -> _Storage:
        """Where to fetch it; whether it may be fetched is looked into there, since links are storage too."""
        if not self._storages:
            allowed(reference, ())
        local = _local(reference)
        for storage in self._storages:
            root = _local(storage.prefix)
            if local.is_relative_to(root) if local and root else reference.startswith(storage.prefix):
                return storage
        return next((storage for storage in self._storages if local and _local(storage.prefix)), self._storages[0])

    async def _attempt(self, frame: Frame, storage: _Storage) -> bytes:
        await storage.held.acquire()
        try:
            payload = await self._answer(frame, storage)
        except BaseException as error:
            storage.held.release()
            if isinstance(error, SourceUnavailableError):
                self._tell(storage, False)
            elif isinstance(error, UnreadableError):
                self._tell(storage, True)
            raise
        self._tell(storage, True)
        return payload

    async def _answer(self, frame: Frame, storage: _Storage) -> bytes:
        answer = asyncio.get_running_loop().run_in_executor(storage.threads, self._fetch, frame)
        done, _ = await asyncio.wait({answer}, timeout=self._hangs_s)
        if not done:
            self._tell(storage, False)
            late = SourceUnavailableError(
                f"{storage.shown} has not answered for {self._hangs_s:g} s, and is waited for"
            )
            self._observer.retrying(f"storage {storage.shown}", late, 1)
        return await answer

    def _tell(self, storage: _Storage, up: bool) -> None:
        if storage.up is not up:
            storage.up = up
            self._observer.frame_storage(storage.shown, up)

    def _fetch(self, frame: Frame) -> bytes:
        reference = frame.reference or ""
        where = redact_url(reference)
        try:
            uri = allowed(reference, self._limits.frame_references)
            payload = self._read_file(uri) if _local(uri) is not None else self._read(uri)
        except UnreadableError:
            raise
        except Exception as error:  # every file system has its own; what says nothing of the file may pass
            raise _explained(error, where) from error
        found = hashlib.sha256(payload).hexdigest()
        if found != (frame.content_sha256 or "").lower():
            raise UnreadableError(
                Reason.HASH_MISMATCH, f"{where} has SHA-256 {found}, the producer sent {frame.content_sha256}"
            )
        return payload

    def _read_file(self, path: str) -> bytes:
        """A file of this machine, whose name has been resolved. It is not opened before it is known to be one."""
        _require_file(os.lstat(path))
        descriptor = os.open(path, _OPEN_FLAGS)
        try:
            found = os.fstat(descriptor)
            _require_file(found)
            self._check_size(found.st_size)
            return self._all(lambda: os.read(descriptor, _CHUNK_BYTES))
        finally:
            os.close(descriptor)

    def _read(self, uri: str) -> bytes:
        files, path = fsspec.core.url_to_fs(uri)
        found = files.info(path)
        if found.get("type") == "directory":
            raise IsADirectoryError
        self._check_size(found.get("size"))
        with files.open(path, "rb") as file:
            return self._all(lambda: file.read(_CHUNK_BYTES))

    def _all(self, read: Callable[[], bytes]) -> bytes:
        payload = bytearray()
        while chunk := read():
            payload += chunk
            self._check_size(len(payload))  # the file may have grown, and some storage tells no size
        return bytes(payload)

    def _check_size(self, found: Any) -> None:
        most = self._limits.max_referenced_bytes
        if found is not None and found > most:
            raise UnreadableError(
                Reason.TOO_MANY_BYTES, f"the frame referred to has {found:,} bytes or more, expected at most {most:,}"
            )

    def close(self) -> None:
        """Let the threads end."""
        for storage in self._storages:
            storage.threads.shutdown(wait=False, cancel_futures=True)


def _require_file(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableError(
            Reason.REFERENCE_REFUSED, "the reference names a FIFO, a device or a socket, expected a file"
        )


def _explained(error: Exception, where: str) -> UnreadableError | SourceUnavailableError:
    """What an error of a file system says of the frame, or of the storage."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, FileNotFoundError | NotADirectoryError) or number in _NOT_THERE:
        return UnreadableError(Reason.REFERENCE_NOT_FOUND, f"{where} is not there")
    if isinstance(error, PermissionError | IsADirectoryError | ValueError) or number in _REFUSED:
        why = os.strerror(number) if number is not None else type(error).__name__
        return UnreadableError(Reason.REFERENCE_REFUSED, f"{where} may not be read: {why}")
    return SourceUnavailableError(f"{where} cannot be read: {type(error).__name__}")


def allowed(reference: str, prefixes: Sequence[str]) -> str:
    """The URI to read for a reference; a local path is resolved, links and all.

    Raises:
        UnreadableError: REFERENCE_REFUSED.
    """
    shown = redact_url(reference)
    if not prefixes:
        raise UnreadableError(
            Reason.REFERENCE_REFUSED, f"the frame is a reference, {shown}, and limits.frame_references allows none"
        )
    # `::` chains file systems: the part behind it would be opened unseen.
    plain = reference.isprintable() and "::" not in reference and ".." not in unquote(reference).split("/")
    if plain:
        for prefix in prefixes:
            if (root := _local(prefix)) is None:
                if reference.startswith(prefix.rstrip("/") + "/"):
                    return reference
            elif (path := _local(reference)) is not None and path.is_absolute():
                try:
                    resolved = path.resolve()
                except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links that go round in a circle
                    detail = f"the links of the reference {shown} cannot be followed: {type(error).__name__}"
                    raise UnreadableError(Reason.REFERENCE_REFUSED, detail) from error
                if resolved.is_relative_to(root.resolve()):
                    return str(resolved)
    raise UnreadableError(
        Reason.REFERENCE_REFUSED, f"the reference {shown} is not below one of limits.frame_references"
    )


def _local(uri: str) -> Path | None:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme not in _LOCAL or parts.netloc:
        return None
    return Path(uri.removeprefix(f"{parts.scheme}://") if parts.scheme else uri)
