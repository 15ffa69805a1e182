"""Image files on this machine: which are found, and how large they may be."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from patchline.ops.errors import InputError
from patchline.ops.offline import image_files
from patchline.ops.offline.image_files import find_images, load_image, load_view
from patchline.stream.model.limits import Limits


def test_an_uncompressed_file_of_as_many_pixels_as_are_decoded_is_read(tmp_path: Path) -> None:
    """It has as many bytes as the service takes by reference, several times those of a frame in a message."""
    limits = Limits()
    assert 3 * limits.max_pixels < limits.max_referenced_bytes
    picture = np.full((3000, 4096, 3), 90, dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "0.bmp"), picture)
    assert (tmp_path / "0.bmp").stat().st_size > limits.max_frame_bytes
    assert np.array_equal(load_image(tmp_path / "0.bmp"), picture)


def test_a_larger_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its bytes and by its pixels."""
    cv2.imwrite(str(tmp_path / "0.bmp"), np.full((64, 64, 3), 90, dtype=np.uint8))
    for limits, told in (
        (Limits(max_referenced_bytes=1000), "0.bmp: the frame has 12,342 bytes, expected at most 1,000"),
        (Limits(max_pixels=4095), "0.bmp: the BMP header says 64 x 64 pixels .* expected at most 4,095"),
    ):
        monkeypatch.setattr(image_files, "LIMITS", limits)
        with pytest.raises(InputError, match=told):
            load_view(tmp_path / "0.bmp")


def test_files_and_folders_are_found_in_order(tmp_path: Path) -> None:
    """A folder's own images, deeper ones where that is asked for; one without any is refused."""
    (tmp_path / "b" / "deep").mkdir(parents=True)
    for name in ("a.png", "b/2.jpg", "b/1.png", "b/deep/3.png"):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), 90, dtype=np.uint8))
    file, folder = tmp_path / "a.png", tmp_path / "b"
    assert find_images([folder, file]) == [folder / "1.png", folder / "2.jpg", file]
    assert find_images([folder], recursive=True) == [folder / "1.png", folder / "2.jpg", folder / "deep" / "3.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: no image files directly in it"):
        find_images([tmp_path / "empty"])
    with pytest.raises(InputError, match="nothing: no such file or folder"):
        find_images([tmp_path / "nothing"])
