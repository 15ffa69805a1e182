"""Images at 64 x 64 grey, by which copies of one picture are told, and how far saving one again as JPEG moves it.

At that size noise and the blocks of a JPEG average out, while the light, the part and where it lies stay. Nothing here
needs PyTorch: images are looked at before a backbone is loaded.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from patchline.engine.features.preprocess import check_image
from patchline.engine.types import Image

SIDE_PX = 64
UNITS = 16
"""Units of a grey level. Whole grey levels would round away more than saving as JPEG moves a large image."""
JPEG_QUALITY = 75


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """An image at 64 x 64 grey: `values` is int16 (64, 64), in sixteenths of a grey level, 0 to 4,080.

    `sq_resaved` is its squared distance, in the same units, from the thumbnail of the image saved again as JPEG of
    quality 75: an integer, as every squared distance between thumbnails is.
    """

    values: NDArray[np.int16]
    sq_resaved: int


def thumbnail(image: Image) -> Thumbnail:
    """The thumbnail of an image, RGB uint8 (H, W, 3), of any size; its sides are brought to 64 pixels each.

    Raises:
        ImageError: `image` is not RGB uint8 (H, W, 3), or is empty.
    """
    grey = grey_of(image)
    values = _shrunk(grey)
    one_channel = image.strides[2] == 0
    # Colours are saved with it: clipped and rounded, they move the grey by some hundredths more than grey alone.
    original = grey if one_channel else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, saved = cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    read = np.asarray(cv2.imdecode(saved, cv2.IMREAD_GRAYSCALE if one_channel else cv2.IMREAD_COLOR), dtype=np.uint8)
    again = read if one_channel else cv2.cvtColor(read, cv2.COLOR_BGR2GRAY)
    apart = values.astype(np.int64) - _shrunk(np.asarray(again, dtype=np.uint8))
    return Thumbnail(values, int((apart * apart).sum()))


def grey_of(image: Image) -> NDArray[np.uint8]:
    """The grey of an image, RGB uint8 (H, W, 3), as uint8 (H, W), C-contiguous.

    Raises:
        ImageError: `image` is not RGB uint8 (H, W, 3), or is empty.
    """
    check_image(image)
    if image.strides[2] == 0:  # one channel seen three times
        return np.ascontiguousarray(image[:, :, 0])
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _shrunk(grey: NDArray[np.uint8]) -> NDArray[np.int16]:
    """uint8 (H, W) as int16 (64, 64): averaged over area where both sides shrink, interpolated otherwise."""
    finer = grey.astype(np.uint16) * UNITS
    shrinks = min(grey.shape) >= SIDE_PX
    resized = cv2.resize(finer, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.int16)
