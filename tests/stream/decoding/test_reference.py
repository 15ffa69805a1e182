import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from patchline.stream.decoding.reference import FrameReferences, allowed
from patchline.stream.model.errors import ConfigError, Reason, UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from tests.stream.scripted import Recorder, frame, jpeg

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


async def test_a_file_that_tells_no_size_is_cut_off_while_it_is_read(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the size is not known beforehand, reading ends just past the limit."""
    info = LocalFileSystem.info
    monkeypatch.setattr(LocalFileSystem, "info", lambda self, path, **_: {**info(self, path), "size": None})
    with pytest.raises(UnreadableError) as found:
        await fetched(str(stored), frame_references=(str(stored.parent),), max_referenced_bytes=100)
    assert found.value.reason is Reason.TOO_MANY_BYTES


async def test_storage_that_is_away_is_asked_again(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says nothing of the file is tried again, without holding a place, until the file comes."""
    opened, failures = LocalFileSystem.open, [OSError("away"), RuntimeError("away")]

    def open_at_last(self: LocalFileSystem, *arguments: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return opened(self, *arguments, **more)

    monkeypatch.setattr(LocalFileSystem, "open", open_at_last)
    assert await fetched(str(stored), frame_references=(str(stored.parent),), decode_threads=1) == PICTURE
    assert not failures


@pytest.mark.parametrize("prefix", ["frames", "s3://", "", "s3:///", "/"])
def test_a_prefix_that_would_allow_everything_is_no_setting(prefix: str) -> None:
    """A prefix names a folder: a relative path and a scheme alone are refused."""
    with pytest.raises(ConfigError, match="frame_references"):
        Limits(frame_references=(prefix,))
