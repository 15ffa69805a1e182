"""Small defects planted in good images: of every kind, and equally faint."""

from pathlib import Path

import cv2
import numpy as np

from patchline.engine.features.preprocess import prepare
from patchline.engine.types import Image
from patchline.ops.demo.defects import Kind, plant
from tests.bench.bench import FigureUnavailableError
from tests.bench.workload import SIZE_PX, read

ENLARGED = 3
"""The defects are those of the demo's web, whose cameras look closer: a third of their size is small at 224 px."""
CELL_PX = 240
"""Side of the place for a defect, in pixels of the enlarged image."""
MARGIN_PX = 112
"""At the edges of that image no place lies: the part may end before the image does."""
CONTRAST = 0.3


def planted(path: Path, kind: Kind, seed: int) -> Image:
    """A good image with one defect, RGB uint8 at the size that both sides see; outside the defect not a bit changes.

    The defect is drawn in an enlarged image, and what it changes there is averaged over area.

    Args:
        path: of the good image.
        kind: of the defect.
        seed: of its place and shape.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise FigureUnavailableError(f"{path}: cannot be read as an image")
    height, width = (ENLARGED * side for side in SIZE_PX)
    before = prepare(np.asarray(pixels, dtype=np.uint8), (height, width))
    after = before.copy()
    rng = np.random.default_rng(seed)
    top, left = (int(rng.integers(MARGIN_PX, side - MARGIN_PX - CELL_PX)) for side in (height, width))
    plant(after, kind, CONTRAST, (top, left, CELL_PX, CELL_PX), rng)
    change = cv2.resize(after.astype(np.float32) - before, SIZE_PX[::-1], interpolation=cv2.INTER_AREA)
    result: Image = np.clip(np.rint(read(path) + change), 0, 255).astype(np.uint8)
    return result
