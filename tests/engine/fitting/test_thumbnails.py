"""Thumbnails: what of an image is compared, and how far saving it again moves it."""

from typing import Any

import cv2
import numpy as np
import pytest

from patchline.engine.errors import ImageError
from patchline.engine.fitting.thumbnails import grey_of, thumbnail
from patchline.engine.types import Image


def photograph(height: int, width: int) -> Image:
    """A coloured picture with soft and hard edges."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def saved(image: Image, quality: int) -> Image:
    """The image saved as JPEG and read again."""
    ok, jpeg = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return np.ascontiguousarray(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), dtype=np.uint8)[:, :, ::-1])


def sq_apart(one: Image, other: Image) -> int:
    """The squared distance of two images' thumbnails."""
    difference = thumbnail(one).values.astype(np.int64) - thumbnail(other).values
    return int((difference * difference).sum())


def test_a_thumbnail_averages_the_grey_over_area() -> None:
    """Each of its pixels is the mean of the grey that it covers, in sixteenths of a level."""
    image = photograph(256, 192)
    made = thumbnail(image)
    means = grey_of(image).reshape(64, 4, 64, 3).mean(axis=(1, 3))
    assert made.values.shape == (64, 64)
    assert made.values.dtype == np.int16
    assert np.abs(made.values / 16 - means).max() <= 1 / 16


@pytest.mark.parametrize("shape", [(64, 64), (300, 200), (40, 900), (20, 16)])
def test_what_moves_is_what_saving_again_moves(shape: tuple[int, int]) -> None:
    """A thumbnail comes with the distance of the image saved as JPEG 75: more than at 90, less than at 50."""
    image = photograph(*shape)
    limit = thumbnail(image).sq_resaved
    assert sq_apart(image, saved(image, 75)) == limit > 0
    assert sq_apart(image, saved(image, 90)) < limit < sq_apart(image, saved(image, 50))


def test_grey_seen_three_times_is_grey() -> None:
    """One channel broadcast to three has the thumbnail of the three, as far as JPEG's colours allow."""
    grey = photograph(120, 100)[:, :, 0]
    view, copied = np.broadcast_to(grey[:, :, None], (120, 100, 3)), np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(grey_of(view), grey)
    assert np.array_equal(thumbnail(view).values, thumbnail(copied).values)
    assert thumbnail(view).sq_resaved == pytest.approx(thumbnail(copied).sq_resaved, rel=0.2)


def test_one_grey_all_over_does_not_move() -> None:
    """JPEG keeps an even picture, so that only the same grey is alike to it."""
    assert thumbnail(np.full((80, 80, 3), 128, dtype=np.uint8)).sq_resaved == 0


def test_other_pixels_are_refused() -> None:
    """Grey without channels and floating-point numbers are no images of the engine."""
    refused: tuple[Any, ...] = (
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    )
    for pixels in refused:
        with pytest.raises(ImageError, match="RGB uint8"):
            thumbnail(pixels)
