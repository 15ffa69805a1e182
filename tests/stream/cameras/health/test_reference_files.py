"""References on disk."""

from pathlib import Path

import msgspec
import pytest

from patchline.stream.cameras.health import reference_files
from patchline.stream.cameras.health.reference_files import ReferenceFiles
from tests.stream.cameras.health.line import taught


def test_a_camera_has_one_file_which_comes_back_as_it_was(tmp_path: Path) -> None:
    """Whatever it is called; the folder is made, and nothing else lies in it."""
    learned = taught().learned
    assert learned is not None
    files = ReferenceFiles(tmp_path / "a" / "b")
    for name in ("line-3", "../../x", "a/b", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"):
        assert files.load(name) is None
        assert not files.reset(name)
        files.save(msgspec.structs.replace(learned, camera=name))
        files.save(msgspec.structs.replace(learned, camera=name))
        again = files.load(name)
        assert again == msgspec.structs.replace(learned, camera=name)
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "a" / "b"}
    assert len(list((tmp_path / "a" / "b").iterdir())) == 4
    assert files.reset("line-3")
    assert files.load("line-3") is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"camera": 1}'])
def test_a_damaged_file_is_no_references(tmp_path: Path, content: bytes) -> None:
    """It says which file."""
    files = ReferenceFiles(tmp_path)
    files.path("a").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.health\.json holds no references of a camera"):
        files.load("a")


def test_cells_that_are_not_as_many_as_they_should_be_are_refused(tmp_path: Path) -> None:
    """They would end the camera's reader."""
    learned = taught().learned
    assert learned is not None
    files = ReferenceFiles(tmp_path)
    files.save(msgspec.structs.replace(learned, cells=(3, 3)))
    with pytest.raises(ValueError, match="has not the 3 x 3 cells"):
        files.load("a")


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write there cannot take the memory."""
    monkeypatch.setattr(reference_files, "MOST_BYTES", 100)
    files = ReferenceFiles(tmp_path)
    files.path("a").write_bytes(b" " * 101)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        files.load("a")
