"""MVTec's layout of a data set: `train/good` to learn from; `test/good`, `test/<defect>` and, where there are masks,
`ground_truth/<defect>` to judge by.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from patchline.engine.evaluation.metrics import GOOD
from patchline.ops.errors import InputError
from patchline.ops.offline.image_files import load_image
from patchline.stream.cameras.folder import SUFFIXES, image_files, utf8_name


@dataclass(frozen=True, slots=True)
class TestImage:
    """One image, its kind (`good` or a defect type), and its mask's file where there is one."""

    path: Path
    kind: str
    mask: Path | None


def read_test_set(root: Path) -> list[TestImage]:
    """The images below `root/test` (or below `root`, where it holds `good` itself), kinds in the order of their names.

    Raises InputError where the layout is another.
    """
    test = root / "test" if (root / "test").is_dir() else root
    if not (test / GOOD).is_dir():
        raise InputError(
            f"{root}: no folder test/good; expected MVTec's layout: test/good and test/DEFECT, each of images"
        )
    truth = test.parent / "ground_truth"
    found = []
    for folder in sorted(path for path in test.iterdir() if path.is_dir()):
        for path in image_files(folder):
            mask = None if folder.name == GOOD else _mask_of(truth / folder.name, path.stem)
            found.append(TestImage(path, utf8_name(folder.name), mask))
    if not any(image.kind == GOOD for image in found):
        raise InputError(f"{test / GOOD}: no image files; expected {', '.join(SUFFIXES)}")
    return found


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
    """A mask at `size_px`, bool (H, W): true where the file is not black; nearest pixel, as published figures do it."""
    mask = load_image(path).max(axis=2)  # (H, W, 3) -> (H, W)
    height, width = size_px
    resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized > 0, dtype=np.bool_)


def _mask_of(folder: Path, stem: str) -> Path | None:
    for name in (f"{stem}_mask.png", f"{stem}.png"):
        if (folder / name).is_file():
            return folder / name
    return None
