"""From a frame to the pixels that the backbone sees."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline.engine.features.preprocess import prepare

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))


@settings(max_examples=200)
@given(given_px=SIZES, wanted_px=SIZES, seed=st.integers(0, 2**32 - 1), smooth=st.booleans())
def test_one_channel_seen_three_times_gives_the_pixels_of_three(given_px, wanted_px, seed, smooth):
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
