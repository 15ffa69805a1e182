"""From a frame to the pixels that the backbone sees: their number, and their brightness."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline.engine.errors import ImageError
from patchline.engine.features.preprocess import LEVEL, level, prepare
from tests.engine.conftest import texture

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))


@settings(max_examples=200)
@given(given_px=SIZES, wanted_px=SIZES, seed=st.integers(0, 2**32 - 1), smooth=st.booleans())
def test_one_channel_seen_three_times_gives_the_pixels_of_three(
    given_px: tuple[int, int], wanted_px: tuple[int, int], seed: int, smooth: bool
) -> None:
    """Bit for bit, whether the image shrinks, grows or stays, and what comes of it is an image as any other."""
    height, width = given_px
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, given_px, dtype=np.uint8)
    if smooth:
        grey = np.linspace(0, 255, height * width).reshape(given_px).astype(np.uint8)
    seen = np.broadcast_to(grey[:, :, None], (height, width, 3))
    found = prepare(seen, wanted_px)
    assert np.array_equal(found, prepare(np.ascontiguousarray(seen), wanted_px))
    assert (found.shape, found.flags.c_contiguous, found.flags.writeable) == ((*wanted_px, 3), True, True)


def test_prepare_keeps_what_fits_and_averages_what_shrinks() -> None:
    """An image of the right size is returned as it is; a shrunken one keeps its mean colour."""
    image = texture(1)
    assert prepare(image, (64, 64)) is image
    shrunk = prepare(image, (16, 32))
    assert shrunk.shape == (16, 32, 3)
    assert shrunk.mean() == pytest.approx(image.mean(), abs=1)
    assert prepare(image, (100, 130)).shape == (100, 130, 3)


def test_levelling_undoes_exposure() -> None:
    """An image at 0.6 and at 1.3 times the light comes out the same, to rounding."""
    image = (texture(1) * 0.7).astype(np.uint8)
    darker, brighter = (np.rint(image * gain).astype(np.uint8) for gain in (0.6, 1.3))
    assert abs(float(np.median(level(image)[..., 1])) - LEVEL) < 25
    assert np.abs(level(image).astype(int) - level(darker)).max() <= 4
    assert np.abs(level(image).astype(int) - level(brighter)).max() <= 4


def test_a_black_image_stays_black() -> None:
    """No light gives no gain to divide by."""
    assert level(np.zeros((4, 4, 3), dtype=np.uint8)).max() == 0


def test_what_is_no_image_is_refused() -> None:
    """Grey or float arrays are named in the error."""
    with pytest.raises(ImageError, match="float32"):
        level(np.zeros((4, 4, 3), dtype=np.float32))
