import os
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest

from patchline.stream.cameras.config import FolderConfig
from patchline.stream.cameras.folder import FolderSource, image_files
from patchline.stream.model.errors import SourceError
from patchline.stream.model.frame import Frame


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images by suffix, one of them below, and what is none."""
    for name in ("b.PNG", "a.jpg", "notes.txt", "deeper/c.tiff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


async def frames(config: FolderConfig) -> list[Frame]:
    source = FolderSource(config)
    await source.open()
    found = [frame async for frame in source]
    await source.close()
    return found


async def test_every_image_is_a_frame_of_the_camera_in_the_order_of_paths(folder: Path) -> None:
    """Id, time and bytes are the file's; subfolders are read where that is asked for."""
    before_s = monotonic()
    found = await frames(FolderConfig(path=folder, camera="cam", recipe="plate"))
    assert [(frame.frame_id, frame.payload) for frame in found] == [("a.jpg", b"a.jpg"), ("b.PNG", b"b.PNG")]
    for frame in found:
        assert (frame.camera, frame.recipe, frame.flaw) == ("cam", "plate", None)
        assert frame.time == datetime.fromtimestamp(1_700_000_000, UTC)
        assert before_s <= frame.received_s <= monotonic()
    deep = await frames(FolderConfig(path=folder, camera="cam", recipe="plate", recursive=True))
    assert [frame.frame_id for frame in deep] == ["a.jpg", "b.PNG", "deeper/c.tiff"]


async def test_a_name_that_is_no_utf_8_is_escaped(tmp_path: Path) -> None:
    """What bytes say beyond UTF-8 is written in ASCII, so that an id can be encoded and still tells files apart."""
    names = [b"m\xfcller.png", b"m\xf6ller.png", "müller.png".encode()]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    found = await frames(FolderConfig(path=tmp_path, camera="cam", recipe="plate"))
    ids = {frame.payload: frame.frame_id for frame in found}
    assert [ids[name] for name in names] == ["m\\udcfcller.png", "m\\udcf6ller.png", "müller.png"]


def test_images_are_told_by_their_suffix(tmp_path: Path) -> None:
    """In any case of letters."""
    names = ["1.jpg", "2.jpeg", "3.png", "4.bmp", "5.tif", "6.TIFF", "7.pgm", "8.ppm"]
    for name in [*names, "9.gif", "jpg"]:
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == names


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    """Nor is anything in a hidden folder below; the folder itself may lie in one."""
    folder = tmp_path / ".hidden"
    for name in (
        "a.png",
        "._a.png",
        ".b.png",
        "lot/c.png",
        "lot/._c.png",
        ".thumbnails/d.png",
        ".thumbnails/lot/e.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert [path.name for path in image_files(folder)] == ["a.png"]
    assert [path.name for path in image_files(folder, recursive=True)] == ["a.png", "c.png"]


async def test_a_file_that_cannot_be_read_is_a_frame_with_a_flaw(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there, so it has a result; the others are read."""
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name == "a.jpg":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    before = datetime.now(UTC)
    broken, whole = await frames(FolderConfig(path=folder, camera="cam", recipe="plate"))
    assert broken.flaw == "the file cannot be read: Permission denied"
    assert (broken.frame_id, broken.payload) == ("a.jpg", b"")
    assert before <= broken.time <= datetime.now(UTC)
    assert whole.flaw is None


async def test_a_folder_that_is_none_is_named(folder: Path) -> None:
    """A file or nothing is refused before anything is read."""
    for path in (folder / "a.jpg", folder / "missing"):
        with pytest.raises(SourceError, match="is not a folder, expected one with images"):
            await FolderSource(FolderConfig(path=path, camera="cam", recipe="plate")).open()
