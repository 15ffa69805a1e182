"""Frames that come by reference: a URI and a SHA-256 instead of bytes.

A record is data of others, so it may name only what lies below the prefixes that the settings allow; there are none by
default. Where storage cannot be reached the frame waits, and its partition with it. Whatever is wrong with the
reference itself, or with what it names, makes a frame that is not inspected.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
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


class FrameReferences:
    """Fetches what references name, on threads of its own.

    Args:
        limits: `frame_references`, the URIs of folders below which references may point; `max_referenced_bytes`; and
            `decode_threads`: so many payloads are held at once.
        observer: told of storage that is away.
    """

    def __init__(self, limits: Limits, observer: Observer) -> None:
        self._limits = limits
        self._observer = observer
        self._held = asyncio.Semaphore(limits.decode_threads)
        self._threads = ThreadPoolExecutor(limits.decode_threads, thread_name_prefix="fetch")

    @asynccontextmanager
    async def payload_of(self, frame: Frame) -> AsyncIterator[bytes]:
        """The frame's encoded image, held in memory until the context ends; empty where it has pixels already.

        Raises:
            UnreadableError: REFERENCE_REFUSED, REFERENCE_NOT_FOUND, TOO_MANY_BYTES or HASH_MISMATCH.
        """
        if frame.reference is None or frame.flaw is not None:
            yield frame.payload or b""
            return
        uri = allowed(frame.reference, self._limits.frame_references)
        payload = await retry_until_done(
            f"storage of {frame.camera}", lambda: self._attempt(frame, uri), self._observer
        )
        try:
            yield payload
        finally:
            self._held.release()

    async def _attempt(self, frame: Frame, uri: str) -> bytes:
        await self._held.acquire()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, frame, uri)
        except BaseException:
            self._held.release()
            raise

    def _fetch(self, frame: Frame, uri: str) -> bytes:
        where = redact_url(uri)
        try:
            payload = self._read(uri)
        except UnreadableError:
            raise
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise UnreadableError(Reason.REFERENCE_NOT_FOUND, f"{where} is not there") from error
        except (PermissionError, ValueError) as error:
            detail = f"{where} may not be read: {type(error).__name__}"
            raise UnreadableError(Reason.REFERENCE_REFUSED, detail) from error
        except Exception as error:  # every file system has its own; what says nothing of the file may pass
            raise SourceUnavailableError(f"{where} cannot be read: {type(error).__name__}") from error
        found = hashlib.sha256(payload).hexdigest()
        if found != (frame.content_sha256 or "").lower():
            raise UnreadableError(
                Reason.HASH_MISMATCH, f"{where} has SHA-256 {found}, the producer sent {frame.content_sha256}"
            )
        return payload

    def _read(self, uri: str) -> bytes:
        files, path = fsspec.core.url_to_fs(uri)
        self._check_size(files.info(path).get("size"))
        payload = bytearray()
        with files.open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
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
        self._threads.shutdown(wait=False, cancel_futures=True)


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
                resolved = path.resolve()
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
