import asyncio
import errno
import hashlib
import os
import stat
import threading
from contextlib import chdir, suppress
from dataclasses import replace
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from patchline.stream.decoding.reference import FrameReferences, allowed
from patchline.stream.model.errors import ConfigError, Reason, UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from tests.stream.scripted import Recorder, frame, jpeg
from tests.stream.waiting import until

PICTURE = jpeg(50)
SHA256 = hashlib.sha256(PICTURE).hexdigest()


def referring(reference: str, sha256: str) -> Frame:
    return replace(frame("f1", b""), reference=reference, content_sha256=sha256)


async def fetched(reference: str, *, sha256: str = SHA256, **limits: Any) -> bytes:
    references = FrameReferences(Limits(**limits), Recorder())
    try:
        async with references.payload_of(referring(reference, sha256)) as payload:
            return payload
    finally:
        references.close()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    (tmp_path / "frames").mkdir()
    (tmp_path / "secret.jpg").write_bytes(PICTURE)
    path = tmp_path / "frames" / "1.jpg"
    path.write_bytes(PICTURE)
    return path


async def test_a_picture_is_fetched_from_a_folder_or_an_object_store(stored: Path) -> None:
    """A local path, its file URI, and a URI of another file system give the bytes that were stored."""
    root = str(stored.parent)
    assert await fetched(str(stored), frame_references=(root,)) == PICTURE
    assert await fetched(f"file://{stored}", frame_references=(f"file://{root}",)) == PICTURE
    with fsspec.open("memory://line-3/frames/1.jpg", "wb") as file:
        file.write(PICTURE)
    assert await fetched("memory://line-3/frames/1.jpg", frame_references=("memory://line-3/frames/",)) == PICTURE


@pytest.mark.parametrize(
    "reference",
    [
        "{root}/secret.jpg",
        "{root}/frames/../secret.jpg",
        "file://{root}/frames/../secret.jpg",
        "file://elsewhere{root}/frames/1.jpg",
        "{root}/frames-of-others/1.jpg",
        "{root}/frames/link.jpg",
        "frames/1.jpg",
        "memory://line-4/1.jpg",
        "memory://line-3/../line-4/1.jpg",
        "memory://line-3/%2e%2e/line-4/1.jpg",
        "memory://line-3/1.jpg::file://{root}/secret.jpg",
        "simplecache::memory://line-3/1.jpg",
        "memory://line-3",
        "http://[",
        "",
    ],
)
def test_nothing_outside_the_allowed_folders_is_named(stored: Path, reference: str) -> None:
    """Dots, links, look-alikes and chained file systems are refused, and so is all where nothing is allowed."""
    root = stored.parents[1]
    (root / "frames" / "link.jpg").symlink_to(root / "secret.jpg")
    prefixes = (str(root / "frames"), "memory://line-3")
    for allowing in (prefixes, ()):
        with pytest.raises(UnreadableError) as refused:
            allowed(reference.format(root=root), allowing)
        assert refused.value.reason is Reason.REFERENCE_REFUSED


async def test_what_is_stored_is_checked(stored: Path) -> None:
    """Another hash, too many bytes and nothing there: each is a reason of its own, not an error."""
    root = (str(stored.parent),)
    wrong: list[tuple[Reason, str, dict[str, Any]]] = [
        (Reason.HASH_MISMATCH, str(stored), {"sha256": "0" * 64}),
        (Reason.TOO_MANY_BYTES, str(stored), {"max_referenced_bytes": len(PICTURE) - 1}),
        (Reason.REFERENCE_NOT_FOUND, f"{stored}x", {}),
        (Reason.REFERENCE_NOT_FOUND, str(stored.parent / "1.jpg" / "2.jpg"), {}),
    ]
    for reason, reference, more in wrong:
        with pytest.raises(UnreadableError) as found:
            await fetched(reference, frame_references=root, **more)
        assert found.value.reason is reason


@pytest.mark.parametrize(
    "name",
    ["fifo", "folder", "socket", "circle", "x" * 300, "1.jpg/", "link to fifo", "device", "forbidden", "y/" * 2500],
)
async def test_what_is_no_ordinary_file_is_refused_at_once(stored: Path, name: str) -> None:
    """It is not read, it blocks nobody, and nothing is raised but a reason."""
    root = stored.parent
    os.mkfifo(root / "fifo")
    (root / "folder").mkdir()
    (root / "circle").symlink_to(root / "circle")
    (root / "link to fifo").symlink_to(root / "fifo")
    with suppress(OSError):
        os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # zeros without end
    (root / "forbidden").write_bytes(PICTURE)
    (root / "forbidden").chmod(0)
    with socket(AF_UNIX) as bound, chdir(root):
        bound.bind("socket")
        async with asyncio.timeout(10):
            try:
                await fetched(f"{root}/{name}", frame_references=(str(root),))
            except UnreadableError as error:
                reasons = (Reason.REFERENCE_REFUSED, Reason.REFERENCE_NOT_FOUND)
                assert error.reason in reasons  # noqa: PT017 - root may read what is forbidden
            else:
                assert (name, os.geteuid()) in (("forbidden", 0), ("1.jpg/", os.geteuid()))


@pytest.mark.parametrize(
    "reference", ["/srv/\0x", "/srv/\ud800", "file:///srv/\x7f", "http://[::", "/srv/\u202ex", "s3:/"]
)
async def test_odd_texts_are_refused(reference: str) -> None:
    """Whatever a header may hold."""
    with pytest.raises(UnreadableError) as found:
        await fetched(reference, frame_references=("/srv", "memory://a"))
    assert found.value.reason is Reason.REFERENCE_REFUSED


async def test_a_file_that_grows_is_cut_off_while_it_is_read(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the size is not that of before, or not known, reading ends just past the limit."""
    monkeypatch.setattr(FrameReferences, "_read_file", lambda self, _: self._all(lambda: bytes(1000)))
    with pytest.raises(UnreadableError) as found:
        await fetched(str(stored), frame_references=(str(stored.parent),), max_referenced_bytes=100_000)
    assert found.value.reason is Reason.TOO_MANY_BYTES
    with fsspec.open("memory://sizes/1.jpg", "wb") as file:
        file.write(PICTURE)
    info = MemoryFileSystem.info
    monkeypatch.setattr(MemoryFileSystem, "info", lambda self, path, **_: {**info(self, path), "size": None})
    with pytest.raises(UnreadableError) as found:
        await fetched("memory://sizes/1.jpg", frame_references=("memory://sizes",), max_referenced_bytes=100)
    assert found.value.reason is Reason.TOO_MANY_BYTES


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENAMETOOLONG, "long"), Reason.REFERENCE_REFUSED),
        (OSError(errno.ELOOP, "loop"), Reason.REFERENCE_REFUSED),
        (IsADirectoryError(), Reason.REFERENCE_REFUSED),
        (PermissionError(), Reason.REFERENCE_REFUSED),
        (ValueError(), Reason.REFERENCE_REFUSED),
        (FileNotFoundError(), Reason.REFERENCE_NOT_FOUND),
        (OSError(errno.ENOTDIR, "file"), Reason.REFERENCE_NOT_FOUND),
    ],
)
async def test_what_an_object_store_says_of_a_name_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: Reason
) -> None:
    """It is not asked again."""

    def info(self: MemoryFileSystem, path: str, **_: Any) -> Any:
        raise error

    monkeypatch.setattr(MemoryFileSystem, "info", info)
    with pytest.raises(UnreadableError) as found:
        await fetched("memory://line-3/frames/1.jpg", frame_references=("memory://line-3",))
    assert found.value.reason is reason
    folder = {"type": "directory", "size": 0}
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *_, **__: folder)
    with pytest.raises(UnreadableError) as found:
        await fetched("memory://line-3/frames", frame_references=("memory://line-3",))
    assert found.value.reason is Reason.REFERENCE_REFUSED


async def test_storage_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says nothing of the file is tried again, without holding a place, until the file comes."""
    with fsspec.open("memory://away/1.jpg", "wb") as file:
        file.write(PICTURE)
    info, failures = MemoryFileSystem.info, [OSError(errno.EIO, "away"), RuntimeError("away")]

    def info_at_last(self: MemoryFileSystem, path: str, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return info(self, path, **more)

    monkeypatch.setattr(MemoryFileSystem, "info", info_at_last)
    seen = Recorder()
    references = FrameReferences(Limits(frame_references=("memory://away",), decode_threads=1), seen)
    async with references.payload_of(referring("memory://away/1.jpg", SHA256)) as payload:
        assert payload == PICTURE
    references.close()
    assert not failures
    assert [what for what, _ in seen.retries] == ["storage memory://away"] * 2
    assert seen.storage_up == {"memory://away": True}


async def test_storage_that_hangs_is_said_to_and_holds_up_no_other(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each prefix has threads of its own; what was waited for comes when it comes."""
    with fsspec.open("memory://slow/1.jpg", "wb") as file:
        file.write(PICTURE)
    info, answers = MemoryFileSystem.info, threading.Event()

    def info_late(self: MemoryFileSystem, path: str, **more: Any) -> Any:
        answers.wait(60)
        return info(self, path, **more)

    monkeypatch.setattr(MemoryFileSystem, "info", info_late)
    seen = Recorder()
    limits = Limits(frame_references=("memory://slow", str(stored.parent)), decode_threads=1)
    references = FrameReferences(limits, seen, hangs_s=0.05)

    async def fetch(reference: str) -> bytes:
        async with references.payload_of(referring(reference, SHA256)) as payload:
            return payload

    hanging = [asyncio.create_task(fetch("memory://slow/1.jpg")) for _ in range(3)]
    await until(lambda: seen.storage_up == {"memory://slow": False})
    assert await fetch(str(stored)) == PICTURE
    assert seen.storage_up == {"memory://slow": False, str(stored.parent): True}
    answers.set()
    assert await asyncio.gather(*hanging) == [PICTURE] * 3
    assert seen.storage_up["memory://slow"]
    references.close()


@pytest.mark.parametrize("prefix", ["frames", "s3://", "", "s3:///", "/"])
def test_a_prefix_that_would_allow_everything_is_no_setting(prefix: str) -> None:
    """A prefix names a folder: a relative path and a scheme alone are refused."""
    with pytest.raises(ConfigError, match="frame_references"):
        Limits(frame_references=(prefix,))
