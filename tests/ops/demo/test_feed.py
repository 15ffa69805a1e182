"""What a demo of one's own images fits, and what it says of them."""

from pathlib import Path

import cv2
import numpy as np

from patchline.engine.bank.rates import lowest_rate
from patchline.ops.demo.feed import own_images


def test_copies_are_of_one_group_and_one_image_to_the_rate(tmp_path: Path) -> None:
    """Ten pictures, each there twice: 14 of the 20 are fitted, and the rate is what the different ones can aim at."""
    for number in range(20):
        image = np.random.default_rng(number // 2).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), image)
    feed = own_images(tmp_path, frames=None, rate=0, seed=0, false_reject_rate=0.01)
    (job,) = feed.jobs
    groups = job.groups
    assert groups is not None
    assert job.calibration is None
    named = list(job.good)
    assert len(named) == len(groups) == job.good_count == 14
    for i in range(14):
        for j in range(i):
            assert (groups[i] == groups[j]) == np.array_equal(named[i][1], named[j][1])
    different = len(set(groups))
    assert 7 <= different < 14
    assert feed.remarks == (
        f"14 images ({different} of them different) to fit, 6 to inspect.",
        f"They can aim at a false-reject rate of {lowest_rate(different):.2%} at best.",
    )
