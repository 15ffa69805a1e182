"""MVTec's layout of a data set: `train/good` to learn from; `test/good`, `test/<defect>` and, where there are masks,
`ground_truth/<defect>` to judge by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from patchline.engine.evaluation.metrics import GOOD
from patchline.ops.errors import InputError
from patchline.ops.offline.image_files import load_view
from patchline.stream.cameras.folder import SUFFIXES, image_files, utf8_name

LOSSY = (".jpg", ".jpeg")
LOSSY_BLACK = 127
"""What counts as black in those: around the edges of a mask their pixels are grey."""


@dataclass(frozen=True, slots=True)
class TestImage:
    """One image, its kind (`good` or a defect type), and its mask's file where there is one."""

    path: Path
    kind: str
    mask: Path | None


def read_test_set(root: Path) -> list[TestImage]:
    """The images below `root/test` (or below `root`, where it holds `good` itself), kinds in the order of their names.

    Without good images escapes are told all the same. Raises InputError where the layout is another.
    """
    test = root / "test" if (root / "test").is_dir() else root
    if test == root and not (test / GOOD).is_dir():
        raise InputError(
            f"{root}: no folder test/good; expected MVTec's layout: test/good and test/DEFECT, each of images"
        )
    truth = test.parent / "ground_truth"
    found = []
    for folder in sorted(path for path in test.iterdir() if path.is_dir()):
        masks = _masks(truth / folder.name) if folder.name != GOOD else {}
        for path in image_files(folder):
            mask = masks.get(f"{path.stem}_mask") or masks.get(path.stem)
            found.append(TestImage(path, utf8_name(folder.name), mask))
    if not found:
        raise InputError(f"{test}: no image files in its folders; expected {', '.join(SUFFIXES)}")
    return found


def check_masks(images: Sequence[TestImage]) -> None:
    """Raise InputError where a mask has another shape than its image: brought to its size, it would lie elsewhere.

    Sizes are those of the headers; a mask of another scale is right as long as the ratio of its sides is.
    """
    for image in images:
        if image.mask is None:
            continue
        of_mask, of_image = _size_px(image.mask), _size_px(image.path)
        if of_mask is None or of_image is None:
            continue  # what cannot be read says so where it is read
        (height, width), (H, W) = of_mask, of_image
        if abs(height * W - width * H) > max(H, W):  # by more than a pixel of the mask
            raise InputError(
                f"{image.mask}: the mask is {height} x {width} px and its image {H} x {W} (height x width); expected "
                f"a mask of the image's shape"
            )


def training_folder(root: Path) -> Path | None:
    """`root/train/good`, from which alone a bank is learned; None where `root` has another layout."""
    good = root / "train" / GOOD
    return good if good.is_dir() else None


def is_labelled(folder: Path) -> bool:
    """Whether a folder is `test` or `ground_truth` of this layout: what else it would hold lies beside it, or in it.

    The name alone says too little: many a folder of good images lies somewhere below one that is called `test`.
    """
    beside = folder.parent
    if folder.name == "test":
        return training_folder(beside) is not None or (beside / "ground_truth").is_dir()
    return folder.name == "ground_truth" and ((beside / "test").is_dir() or training_folder(beside) is not None)


def read_mask(path: Path, size_px: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask at `size_px`, bool (H, W): true where the file is not black; nearest pixel, as published figures do it.

    Labels may be 16-bit. In a JPEG, what is darker than half of white is black. Raises InputError that names the file.
    """
    view, bits = load_view(path)
    labels: NDArray[Any] = view
    if bits > 8:  # the 8 bits that frames keep may be all 0: labels are small numbers
        whole = cv2.imdecode(np.frombuffer(path.read_bytes(), dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        labels = view if whole is None else np.atleast_3d(whole)[:, :, :3]  # alpha is no label
    black = LOSSY_BLACK if path.suffix.lower() in LOSSY else 0
    mask = np.asarray((labels > black).any(axis=2), dtype=np.uint8)  # (H, W, ...) -> (H, W)
    height, width = size_px
    resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized > 0, dtype=np.bool_)


def _masks(folder: Path) -> dict[str, Path]:
    """Masks by their names without suffix; of one name in several formats, PNG."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(image_files(folder), key=lambda path: path.suffix.lower() == ".png")}


def _size_px(path: Path) -> tuple[int, int] | None:
    try:
        with PillowImage.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
        return None
