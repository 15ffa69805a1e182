"""Labelled test sets in MVTec's layout, and masks as people have them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from patchline.ops.errors import InputError
from patchline.ops.offline.mvtec import TestImage as Labelled
from patchline.ops.offline.mvtec import check_masks, read_mask, read_test_set

HOLE = np.zeros((40, 60), dtype=np.uint8)
HOLE[10:20, 30:50] = 255


def write(path: Path, image: np.ndarray) -> Path:
    """An image in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, encoded = cv2.imencode(path.suffix.lower(), image)
    assert ok
    path.write_bytes(encoded.tobytes())
    return path


@pytest.mark.parametrize("name", ["0_mask.png", "0.png", "0_mask.PNG", "0_mask.bmp", "0.tif", "0_mask.jpg"])
def test_a_mask_may_be_of_any_format_that_is_read(name: str, tmp_path: Path) -> None:
    """It is found by its image's name, and says where the defect is; a JPEG's grey edge is none."""
    write(tmp_path / "test" / "hole" / "0.png", HOLE)
    expected = write(tmp_path / "ground_truth" / "hole" / name, HOLE)
    (image,) = read_test_set(tmp_path)
    assert image == Labelled(tmp_path / "test" / "hole" / "0.png", "hole", expected)
    assert np.array_equal(read_mask(expected, (40, 60)), HOLE > 0)


def test_of_two_masks_the_named_one_and_the_png_is_taken(tmp_path: Path) -> None:
    """`_mask` goes before the image's own name, PNG before other formats."""
    write(tmp_path / "test" / "hole" / "0.png", HOLE)
    for name in ("0.png", "0_mask.tif", "0_mask.png", "0_mask.bmp"):
        write(tmp_path / "ground_truth" / "hole" / name, HOLE)
    (image,) = read_test_set(tmp_path)
    assert image.mask == tmp_path / "ground_truth" / "hole" / "0_mask.png"


@pytest.mark.parametrize(("suffix", "channels"), [(".png", 1), (".png", 3), (".png", 4), (".tif", 1)])
def test_16_bit_labels_are_masks(suffix: str, channels: int, tmp_path: Path) -> None:
    """A label of 1 is a defect, though its upper 8 bits are 0; what is opaque is none."""
    labels = np.repeat((HOLE > 0)[..., None].astype(np.uint16), channels, axis=2)
    if channels == 4:
        labels[..., 3] = 65535
    assert np.array_equal(read_mask(write(tmp_path / f"m{suffix}", labels), (40, 60)), HOLE > 0)


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    """Cut off, turned or stretched it would lie elsewhere; at half the scale it is as good as the whole."""
    image = write(tmp_path / "0.png", HOLE)
    for other in (HOLE[:30], HOLE.T):
        wrong = Labelled(image, "hole", write(tmp_path / "m.png", other))
        with pytest.raises(InputError, match=r"m.png: the mask is \d+ x \d+ px and its image 40 x 60"):
            check_masks([wrong])
    for right in (HOLE, HOLE[::2, ::2], HOLE[:-1:3, ::3]):
        check_masks([Labelled(image, "hole", write(tmp_path / "m.png", right)), Labelled(image, "good", None)])


def test_a_set_without_good_images_is_read(tmp_path: Path) -> None:
    """Escapes can be told of it; a folder that is no test set is refused, and one without images."""
    write(tmp_path / "set" / "test" / "hole" / "0.png", HOLE)
    assert [image.kind for image in read_test_set(tmp_path / "set")] == ["hole"]
    with pytest.raises(InputError, match="no folder test/good"):
        read_test_set(tmp_path / "set" / "test")
    (tmp_path / "none" / "test" / "good").mkdir(parents=True)
    with pytest.raises(InputError, match="no image files in its folders"):
        read_test_set(tmp_path / "none")
