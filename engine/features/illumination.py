"""What of the light may change without the part having changed, taken out of the pixels.

Exposure multiplies every pixel, so a gain that brings the median grey to one level undoes it and leaves contrast as it
is; bringing the standard deviation to one level as well would hide the defects that raise it.
"""

import cv2
import numpy as np

from patchline.engine.features.preprocess import check_image
from patchline.engine.types import Image

LEVEL = 110
"""Median grey, in uint8 units, that frames are brought to."""


def level(image: Image) -> Image:
    """Scale an RGB uint8 (H, W, 3) image so that the median of its grey is `LEVEL`; brighter than 255 saturates.

    Raises:
        ImageError: `image` is not RGB uint8 (H, W, 3).
    """
    check_image(image)
    median = max(float(np.median(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))), 1.0)
    # A table of 256 values: the same result on any machine, and no float image.
    table = np.clip(np.rint(np.arange(256) * (LEVEL / median)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(table[image])
