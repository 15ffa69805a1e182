"""From a decoded frame to the pixels that the backbone sees: their number, and their brightness where a recipe asks.

Thread-safe and free of torch, as the threads that decode frames call it.
"""

import cv2
import numpy as np

from patchline.engine.errors import ImageError
from patchline.engine.types import Image

LEVEL = 110
"""The median grey, in uint8 units, that levelled frames are brought to."""


def prepare(image: Image, size_px: tuple[int, int]) -> Image:
    """Resize a frame to `size_px`, (H, W).

    Pixels are averaged over area where the frame shrinks in both directions and interpolated linearly otherwise.

    Args:
        image: RGB uint8 (H, W, 3). One channel seen three times (stride 0) is resized once, to the same pixels.
        size_px: (H, W) of the result.

    Returns:
        RGB uint8 (H, W, 3), C-contiguous; `image` itself where it has that form already.

    Raises:
        ImageError: `image` is not RGB uint8 (H, W, 3), or is empty.
    """
    check_image(image)
    height, width = size_px
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if image.strides[2] == 0:
        resized = cv2.resize(image[:, :, 0], (width, height), interpolation=interpolation)
        return np.asarray(cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    return np.ascontiguousarray(resized, dtype=np.uint8)


def level(image: Image) -> Image:
    """Scale an image, RGB uint8 (H, W, 3), so that the median of its grey is `LEVEL`; what would exceed 255 is 255.

    A change of exposure scales all pixels alike, so that a levelled image shows none.

    Raises:
        ImageError: `image` is not RGB uint8 (H, W, 3).
    """
    check_image(image)
    median = max(float(np.median(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))), 1.0)
    # A table of 256 values: the same result on any machine, and no float image.
    table = np.clip(np.rint(np.arange(256) * (LEVEL / median)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(table[image])


def check_image(image: Image) -> None:
    """Raise ImageError unless `image` is RGB uint8 (H, W, 3) with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(f"expected an RGB uint8 image (H, W, 3), got {image.dtype} {image.shape}")
